/**
 * Pays visits: asks a server for what a call needs, and says what the light client makes of it.
 * tests/hostile/visits.py describes them, and does the same in Python.
 * @module
 */

import * as codec from "/light/codec.js";
import { toHex } from "/light/index.js";
import { verdicts } from "./calls.js";

/** @typedef {{path: string, place: number[]}} Asked */
/** @typedef {{address: string, call: string, arguments: (string | null | string[] | Asked)[]}} Visit */

/** @param {string} address @param {Asked} asked */
async function fetched(address, { path, place }) {
  const answer = await fetch(address + path);
  if (!answer.ok) throw new Error(`${answer.status} for ${address}${path}`);
  const body = new Uint8Array(await answer.arrayBuffer());
  if (place.length === 0) return toHex(body);
  /** @type {any} */
  let part = codec.decode(body, body.length, "answer");
  for (const index of place) part = part[index];
  return toHex(codec.binary(part, "part of an answer", body.length));
}

/** The verdict of one visit. @param {Visit} visit */
async function pay({ address, call, arguments: written }) {
  const given = [];
  for (const each of written) {
    const own = each === null || typeof each === "string" || Array.isArray(each);
    given.push(own ? each : await fetched(address, each));
  }
  return (await verdicts([[call, given]]))[0];
}

/** One verdict for each visit. @param {Visit[]} visits */
export async function payAll(visits) {
  const found = [];
  for (const visit of visits) found.push(await pay(visit));
  return found;
}
