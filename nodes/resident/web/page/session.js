/**
 * Verified reads over the gateway: every answer is checked against what was trusted before it was
 * asked for, and what is trusted only grows (nodes/client/session.py is the same in Python).
 * @module
 */

import { equal, toHex } from "../light/bytes.js";
import * as light from "../light/index.js";
import { Failure } from "./failures.js";
import { getBytes } from "./http.js";
import { testify } from "./witnesses.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("../light/certificate.js").Header} Header */

const AGE_SLACK_MS = 30_000n;

export class Session {
  /**
   * @param {Uint8Array} genesisBytes
   * @param {light.TrustedChain} trusted
   * @param {Store | null} store where it is kept; null: nowhere
   */
  constructor(genesisBytes, trusted, store) {
    this.genesisBytes = genesisBytes;
    this.genesis = light.Genesis.decode(genesisBytes);
    this.trusted = trusted;
    this.store = store;
    /** Two intervals of empty blocks and some slack (LIGHT-3). */
    this.maxAgeMs = 2n * this.genesis.emptyBlockIntervalMs + AGE_SLACK_MS;
    this.fresh = false;
    /** Verified in this visit, by view. @type {Map<string, {rules: light.ViewRules, file: Uint8Array}>} */
    this.rules = new Map();
  }

  /**
   * The chain of that id, as this device knew it last; a stranger's genesis document is refused.
   * @param {Store | null} store
   * @param {Uint8Array} chainId from the hospital's code, or from a link
   */
  static async open(store, chainId) {
    const kept = await store?.get("chains", toHex(chainId));
    if (kept) return new Session(kept.genesis, light.TrustedChain.decode(kept.trusted), store);
    const genesis = await getBytes("/v1/chain/genesis");
    const session = new Session(genesis, light.trustGenesis(genesis, chainId), store);
    await session.refresh();
    return session;
  }

  get chainId() {
    return this.trusted.chainId;
  }

  /** What a stranger trusts who has the genesis document alone. */
  fromGenesis() {
    return light.trustGenesis(this.genesisBytes, this.chainId);
  }

  /** Follows the memberships and verifies the newest header and its age, from what is trusted. */
  async refresh(before = this.trusted) {
    const { changes, certified } = await testify("", before.height);
    const advanced = await light.advance(before, changes, certified);
    light.checkAge(certified.header, this.now(), this.maxAgeMs);
    await this.keep(advanced);
    return this.trusted;
  }

  /** The value of a state key, or null where it is proved absent. @param {Uint8Array} key */
  async state(key) {
    return (await this.proved(key)).value;
  }

  /** The same with its header. @param {Uint8Array} key */
  async proved(key) {
    return this.ask(`state/${toHex(key)}`, light.StateBundle, (trusted, bundle) =>
      light.verifyStateBundle(trusted, bundle, key, this.now(), this.maxAgeMs),
    );
  }

  /** What a patient permits and forbids, under its header. @param {Uint8Array} patient */
  async directives(patient) {
    const route = `state/${toHex(light.directivesKey(patient))}`;
    return this.ask(route, light.StateBundle, (trusted, bundle) =>
      light.verifyDirectives(trusted, bundle, patient, this.now(), this.maxAgeMs),
    );
  }

  /** A share of a patient, open or closed, under its header. @param {Uint8Array} id @param {Uint8Array} patient */
  async ownShare(id, patient) {
    return this.ask(`state/${toHex(light.shareKey(id))}`, light.StateBundle, (trusted, bundle) =>
      light.verifyOwnShare(trusted, bundle, id, patient, this.now(), this.maxAgeMs),
    );
  }

  /**
   * The rule file of a view that is in force: the chain holds its hash, so anybody may serve it.
   * @param {string} view
   */
  async viewRules(view) {
    const known = this.rules.get(view);
    if (known) return known;
    const value = await this.state(light.viewKey(view));
    const newest = value === null ? undefined : light.decodeViewHashes(value).at(-1);
    const file = newest && (await getBytes(`/v1/view-rules/${toHex(newest)}`));
    const book = light.ruleBook(view, value, file ? [light.ViewRules.decode(file)] : []);
    const found = { rules: book.inForce, file: file ?? new Uint8Array() };
    this.rules.set(view, found);
    return found;
  }

  /** All entries of a log, proved complete. @param {Uint8Array} key */
  async log(key) {
    return this.ask(`logs/${toHex(key)}`, light.LogBundle, (trusted, bundle) =>
      light.verifyLogBundle(trusted, bundle, key, this.now(), this.maxAgeMs),
    );
  }

  /**
   * @template {light.StateBundle | light.LogBundle} B
   * @template {{header: Header}} R
   * @param {string} route
   * @param {new (...args: any[]) => B} kind
   * @param {(trusted: light.TrustedChain, bundle: B) => Promise<R>} check
   */
  async ask(route, kind, check) {
    if (!this.fresh) await this.refresh();
    const once = async () => {
      const trusted = this.trusted;
      const bundle = light.decodeBundleOf(await getBytes(`/v1/chain/${route}`), kind);
      const found = await check(trusted, bundle);
      await this.grow(found.header);
      return found;
    };
    try {
      return await once();
    } catch (error) {
      if (!(error instanceof light.MembershipUnknown)) throw error;
      await this.refresh();
      return once();
    }
  }

  /** Trusts a verified header that is newer, where the same membership goes on voting. @param {Header} header */
  async grow(header) {
    const { membership, height } = this.trusted;
    const same =
      equal(membership.hash, header.membership) && equal(membership.hash, header.nextMembership);
    if (header.height <= height || !same) return;
    const { chainId, hash, timeMs } = header;
    await this.keep(
      new light.TrustedChain(chainId, header.height, hash, timeMs, membership, membership),
    );
  }

  /** @param {light.TrustedChain} advanced */
  async keep(advanced) {
    this.fresh = true;
    // Answers cross on their way; what is trusted does not go back.
    if (advanced.height <= this.trusted.height && this.trusted.height > 0n) return;
    this.trusted = advanced;
    await this.store?.put("chains", {
      chainId: toHex(advanced.chainId),
      genesis: this.genesisBytes,
      trusted: advanced.encode(),
    });
  }

  now() {
    return BigInt(Date.now());
  }

  /** What people call a member. @param {string} id */
  nameOf(id) {
    return this.genesis.member(id)?.name ?? id;
  }

  hospitals() {
    return this.genesis.members.filter((member) => member.kind === "hospital");
  }

  /** Address of a hospital's gateway, as the chain holds it. @param {string} member */
  async gatewayOf(member) {
    const value = await this.state(light.memberKey(member));
    if (value === null) throw new Failure("no-gateway", { hospital: member });
    return light.decodeMember(value).endpoints.gateway;
  }
}
