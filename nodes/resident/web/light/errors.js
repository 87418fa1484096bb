/**
 * Errors: one class for each Python error that a light client can raise, with its name, its fields
 * and its text. A page translates by `name` and `fields`; the text is for logs and for people who
 * read English. No field holds what was read of a patient.
 * @module
 */

import { toHex } from "./bytes.js";

/** Another party sent something that the protocol forbids. */
export class PeerFault extends Error {
  /**
   * @param {string} name the Python class
   * @param {string} message
   * @param {Readonly<Record<string, unknown>>} fields
   */
  constructor(name, message, fields) {
    super(message);
    this.name = name;
    /** What the text was made of. */
    this.fields = fields;
  }
}

/** A value is outside the range of its type. */
export class OutOfRange extends PeerFault {
  /** @param {string} typeName @param {string} found */
  constructor(typeName, found) {
    super("OutOfRange", `${typeName}: ${found} is out of range`, { typeName, found });
  }
}

/** Bytes are not the one canonical encoding of what they claim to be. */
export class NotCanonical extends PeerFault {
  /** @param {string} what @param {string} reason */
  constructor(what, reason) {
    super("NotCanonical", `${what}: not canonical: ${reason}`, { what, reason });
  }
}

/** Something exceeds its limit. */
export class TooLarge extends PeerFault {
  /** @param {string} what @param {number | bigint} size @param {number | bigint} limit */
  constructor(what, size, limit) {
    super("TooLarge", `${what}: ${size} exceeds the limit of ${limit}`, { what, size, limit });
  }
}

/** A signature does not verify under the key that it names. */
export class BadSignature extends PeerFault {
  /** @param {string} what */
  constructor(what) {
    super("BadSignature", `${what}: the signature does not verify`, { what });
  }
}

/** A proof does not lead to the root that it was checked against. */
export class ProofInvalid extends PeerFault {
  /** @param {string} what @param {string} reason */
  constructor(what, reason) {
    super("ProofInvalid", `${what}: ${reason}`, { what, reason });
  }
}

/** A quorum certificate has fewer signers than the membership requires. */
export class InsufficientSignatures extends PeerFault {
  /** @param {bigint} height @param {number} got @param {number} needed */
  constructor(height, got, needed) {
    const message = `height ${height}: ${got} signers, ${needed} needed`;
    super("InsufficientSignatures", message, { height, got, needed });
  }
}

/** A certificate or header is not for what it was presented for. */
export class CertificateMismatch extends PeerFault {
  /** @param {string} what */
  constructor(what) {
    super("CertificateMismatch", `certificate: ${what}`, { what });
  }
}

/** A genesis document or header belongs to another network than the trusted one. */
export class WrongChain extends PeerFault {
  /** @param {string} what @param {Uint8Array} found @param {Uint8Array} expected */
  constructor(what, found, expected) {
    super(
      "WrongChain",
      `${what}: it belongs to chain ${short(found)}, ${short(expected)} is trusted; ` +
        "get the genesis document from your hospital and compare its chain id",
      { what, found, expected },
    );
  }
}

/** The membership that votes after or on a header was not shown. */
export class MembershipUnknown extends PeerFault {
  /** @param {bigint} height @param {bigint} trusted */
  constructor(height, trusted) {
    super(
      "MembershipUnknown",
      `height ${height}: its membership is not known from height ${trusted}; ` +
        "fetch the membership changes since then",
      { height, trusted },
    );
  }
}

/** A header lies below the trusted one, or is not later than it. */
export class HeaderGoesBack extends PeerFault {
  /** @param {bigint} height @param {bigint} trusted */
  constructor(height, trusted) {
    super(
      "HeaderGoesBack",
      `height ${height} comes before the trusted height ${trusted}, or its time does; ` +
        "ask again, or ask another server",
      { height, trusted },
    );
  }
}

/** A different header at the trusted height: keep both, one of them proves a fault. */
export class ConflictingHeader extends PeerFault {
  /** @param {bigint} height @param {Uint8Array} found @param {Uint8Array} trusted */
  constructor(height, found, trusted) {
    super(
      "ConflictingHeader",
      `height ${height}: header ${short(found)} is not the trusted ${short(trusted)}; report both`,
      { height, found, trusted },
    );
  }
}

/** An answer rests on a header older than the bound (LIGHT-3). */
export class StaleAnswer extends PeerFault {
  /** @param {bigint} height @param {bigint} ageMs @param {bigint} limitMs */
  constructor(height, ageMs, limitMs) {
    super(
      "StaleAnswer",
      `height ${height}: the answer is ${ageMs} ms old, ${limitMs} ms are allowed; ` +
        "ask again, or ask another server",
      { height, ageMs, limitMs },
    );
  }
}

/** A header's time is further ahead of this device's clock than the bound (LIGHT-3). */
export class HeaderFromTheFuture extends PeerFault {
  /** @param {bigint} height @param {bigint} aheadMs @param {bigint} limitMs */
  constructor(height, aheadMs, limitMs) {
    super(
      "HeaderFromTheFuture",
      `height ${height}: its time is ${aheadMs} ms ahead of this device, ${limitMs} ms are ` +
        "allowed; check the clock of this device",
      { height, aheadMs, limitMs },
    );
  }
}

/** A true answer to another question: the bundle is about another state key. */
export class WrongKey extends PeerFault {
  /** @param {string} what */
  constructor(what) {
    const message = `${what}: the answer is about another key than the one that was asked for`;
    super("WrongKey", message, { what });
  }
}

/** A list has another number of entries than the chain has counted (LIGHT-2). */
export class ListIncomplete extends PeerFault {
  /** @param {number} got @param {bigint} counted */
  constructor(got, counted) {
    super(
      "ListIncomplete",
      `list: ${got} entries were sent, the chain counts ${counted}; ` +
        "ask another server and report this one",
      { got, counted },
    );
  }
}

/** An entry of a certified log breaks the rules of that log. */
export class EntryRefused extends PeerFault {
  /** @param {number} index @param {string} reason */
  constructor(index, reason) {
    const message = `entry ${index}: ${reason}; report it to the consortium`;
    super("EntryRefused", message, { index, reason });
  }
}

/** A disclosure is of another view than was asked for, or names other rules of it. */
export class WrongView extends PeerFault {
  /** @param {string} found @param {Uint8Array} rules @param {string} expected */
  constructor(found, rules, expected) {
    const message = `disclosure: view ${found} by rules ${short(rules)}, ${expected} is wanted`;
    super("WrongView", message, { found, rules, expected });
  }
}

/** The chain has view rules in force that this program does not have. */
export class UnknownRules extends PeerFault {
  /** @param {string} view @param {Uint8Array} rules */
  constructor(view, rules) {
    const known = `its rules ${short(rules)} are not known here`;
    super("UnknownRules", `view ${view}: ${known}; install a newer version`, { view, rules });
  }
}

/** A disclosure shows or hides what the rules of its view do not. */
export class AgainstRules extends PeerFault {
  /** @param {string} view @param {bigint} version @param {string} reason */
  constructor(view, version, reason) {
    const message = `view ${view} version ${version}: ${reason}; report it to the hospital`;
    super("AgainstRules", message, { view, version, reason });
  }
}

/** The chain proves that a share is not the one that was asked for. */
export class WrongShare extends PeerFault {
  /** @param {string} reason */
  constructor(reason) {
    const message = `share: ${reason}; get its link again, and report this server if it is the same`;
    super("WrongShare", message, { reason });
  }
}

/** A share could not be opened any more at the header that proves it. */
export class ShareClosed extends PeerFault {
  /** @param {string} state "ended", "expired" or "locked" @param {bigint} height */
  constructor(state, height) {
    super(
      "ShareClosed",
      `height ${height}: the share was ${state}, yet its server shows it; ask for a new share, ` +
        "and report this server",
      { state, height },
    );
  }
}

/** What the chain holds of a permission or share does not allow the disclosure under it. */
export class DisclosureNotCovered extends PeerFault {
  /** @param {bigint} height of the disclosure @param {string} reason */
  constructor(height, reason) {
    super(
      "DisclosureNotCovered",
      `disclosure at height ${height}: ${reason}; report it to the consortium, and ask the ` +
        "hospital that released",
      { height, reason },
    );
  }
}

/** The disclosure of a saved proof is of no record that its bundle proves. */
export class DisclosureUnplaced extends PeerFault {
  /** @param {string} reason */
  constructor(reason) {
    super("DisclosureUnplaced", `saved proof: ${reason}`, { reason });
  }
}

/** What a server showed is not what the printed checkpoint is about. */
export class CheckpointMismatch extends PeerFault {
  /** @param {bigint} height @param {string} what */
  constructor(height, what) {
    const message =
      `checkpoint at height ${height}: ${what}; ask another server, and have the checkpoint ` +
      "printed again if that one says the same";
    super("CheckpointMismatch", message, { height, what });
  }
}

/** One hospital's server said something that does not hold, or is too old. */
export class WitnessRefused extends PeerFault {
  /** @param {string} hospital @param {string} error class of the error that its answer met @param {string} reason */
  constructor(hospital, error, reason) {
    super("WitnessRefused", `${hospital}: ${reason}`, { hospital, error, reason });
  }
}

/** Two hospitals show different certified headers at one height. */
export class Forked extends PeerFault {
  /**
   * @param {bigint} height
   * @param {string} first
   * @param {Uint8Array} firstHash
   * @param {string} second
   * @param {Uint8Array} secondHash
   */
  constructor(height, first, firstHash, second, secondHash) {
    const message =
      `height ${height}: ${first} shows header ${short(firstHash)}, ${second} shows ` +
      `${short(secondHash)}, and both are certified; trust neither, and hand the evidence to the ` +
      "consortium";
    super("Forked", message, { height, first, firstHash, second, secondHash });
  }
}

/** Two testimonies do not contradict each other. */
export class NoFork extends PeerFault {
  /** @param {string} reason */
  constructor(reason) {
    super("NoFork", `fork: ${reason}`, { reason });
  }
}

/** Sealed bytes were altered, or sealed for another row, patient, hospital, epoch or key. */
export class SealBroken extends PeerFault {
  /** @param {string} what */
  constructor(what) {
    const message = `${what}: it does not open with this key and for this place`;
    super("SealBroken", message, { what });
  }
}

/** @param {Uint8Array} bytes */
function short(bytes) {
  return toHex(bytes).slice(0, 16);
}
