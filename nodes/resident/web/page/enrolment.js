/**
 * The one-time code of a hospital (nodes/client/enrolment.py and docs/resident-api.md).
 * @module
 */

import * as codec from "../light/codec.js";
import { NotCanonical, oneOf } from "../light/index.js";
import { fromBase64Url } from "./base64.js";
import { Failure } from "./failures.js";

const CODE_PREFIX = "yilian-enrol:";

/**
 * @typedef {object} EnrolmentCode
 * @property {Uint8Array} chainId
 * @property {string} hospital
 * @property {Uint8Array} patient
 * @property {string} role
 * @property {Uint8Array} challenge
 */

/** The text of a hospital's QR code; throws Failure. @param {string} text @returns {EnrolmentCode} */
export function enrolmentCode(text) {
  const body = text.trim();
  if (!body.startsWith(CODE_PREFIX) || body.length > 512) throw new Failure("code-damaged");
  try {
    const data = fromBase64Url(body.slice(CODE_PREFIX.length));
    const fields = codec.array(codec.decode(data, 512, "code"), 6, "code");
    if (fields[0] !== 1n) throw new NotCanonical("code", "of another version");
    return {
      chainId: codec.hash32(fields[1], "code"),
      hospital: codec.memberId(fields[2], "code"),
      patient: codec.hash32(fields[3], "code"),
      role: oneOf(["guardian", "resident"], fields[4], "code"),
      challenge: codec.fixed(fields[5], "code", 16, "Nonce"),
    };
  } catch {
    throw new Failure("code-damaged");
  }
}
