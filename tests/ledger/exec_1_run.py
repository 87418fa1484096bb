"""Run as a process of its own by test_EXEC_1: prints the hashes of three blocks."""

from tests.contracts.support import K, digest, patient, signed
from tests.ledger.chain import Chain


def main() -> None:
    chain = Chain()
    rows = tuple((patient(i % 7), digest(i), b"sealed") for i in range(50))
    asked = signed("hospital-b/treating", "access/request", patient(3), "clinical", "TREAT")
    blocks = [
        [
            signed("hospital-a/gateway", "index/register", 1, rows),
            signed("hospital-b/gateway", "index/register", 1, rows[:9]),
            signed("hospital-c/gateway", "index/register", 2, rows, nonce=1),
            signed("hospital-d/gateway", "release/publish", tuple(digest(i) for i in range(K))),
            signed("hospital-d/gateway", "release/publish", tuple(digest(i) for i in range(1))),
            asked,
        ],
        [
            signed("hospital-a/gateway", "index/supersede", patient(3), 0, 1, digest(99), b"x"),
            signed("hospital-a/gateway", "audit/disclose", asked.value.id, (0,)),
            signed("vendor-new/vendor-service", "access/request", patient(3), "clinical", "TREAT"),
            signed("vendor-new/vendor-service", "access/request_release", "hospital-d", "TREAT"),
        ],
        [],
    ]
    for transactions in blocks:
        chain.extend(*transactions)
        print(chain.parent.hex())


if __name__ == "__main__":
    main()
