/**
 * My shares: each with its state, its QR code as long as this device has the link, and its end.
 * @module
 */

import { toHex } from "../../light/bytes.js";
import { checkAge } from "../../light/index.js";
import { execute } from "../actions.js";
import { h, show } from "../dom.js";
import { Failure } from "../failures.js";
import { dateTime, named, t } from "../i18n.js";
import { actionButton, proofBox } from "../parts.js";
import { qrCode } from "../qr.js";
import { allShares, parseLink, shareAddress } from "../shares.js";

/** @typedef {import("../main.js").App} App */
/** @typedef {import("../../light/consent.js").VerifiedShare} VerifiedShare */

/** @param {App} app */
export async function sharesView(app) {
  const { session, store, identity } = app;
  const { shares, header } = await allShares(session, identity.patient);
  const links = new Map((await store.all("links")).map((link) => [link.share, link]));
  const age = checkAge(header, session.now(), session.maxAgeMs);
  return h(
    "section",
    {},
    h("h1", {}, t("shares.title")),
    h("p", {}, t("shares.intro")),
    h("p", {}, h("a", { class: "button primary", href: "#new-share" }, t("shares.new"))),
    proofBox(t("shares.proved", { count: shares.length }), header, age, false),
    h(
      "ul",
      { class: "cards" },
      ...shares.map((one) => card(app, one, links.get(toHex(one.id)))),
    ),
  );
}

/**
 * @param {App} app
 * @param {VerifiedShare & {id: Uint8Array}} found
 * @param {import("../store.js").KeptLink | undefined} kept
 */
function card(app, { id, share, closed }, kept) {
  const state = closed ?? "open";
  const rows = share.rows.map((row) => String(row + 1n)).join(", ");
  return h(
    "li",
    { class: state === "open" ? "card" : "card changed" },
    h("p", { class: "kind" }, kept?.label || t("shares.unnamed", { id: toHex(id).slice(0, 12) })),
    h("p", { class: "status" }, named("share", state) ?? state),
    h("p", {}, t("shares.what", {
      rows, hospital: app.session.nameOf(share.holder), view: named("view", share.view) ?? share.view,
    })),
    h("p", { class: "hint" }, t("shares.bounds", {
      time: dateTime(share.untilMs), attempts: share.attemptsLeft,
    })),
    state === "open" && (kept ? qrPart(kept.link) : h("p", { class: "hint" }, t("shares.no-link"))),
    state === "open" && actionButton(t("shares.end"), () => end(app, id), { kind: "danger" }),
  );
}

/** @param {string} link */
function qrPart(link) {
  const place = h("div", {});
  const address = shareAddress(parseLink(link));
  const button = h("button", { type: "button", onclick: () => show(place, qrPanel(address)) },
    t("shares.show-qr"));
  place.append(button);
  return place;
}

/** The QR code with its link, which can be copied or opened. @param {string} address */
export function qrPanel(address) {
  const copied = h("span", { role: "status" });
  const copy = async () => {
    await navigator.clipboard.writeText(address);
    copied.textContent = t("shares.copied");
  };
  return h(
    "div",
    { class: "qr" },
    qrCode(address, t("shares.qr-label")),
    h("p", { class: "hint" }, t("shares.qr-hint")),
    h("p", {}, h("a", { href: address, class: "link", rel: "noreferrer" }, t("shares.open-link"))),
    h("button", { type: "button", onclick: () => void copy() }, t("shares.copy")),
    copied,
  );
}

/** @param {App} app @param {Uint8Array} id */
async function end({ session, identity, go }, id) {
  await execute(session, identity, "share", "end", [id]);
  const { share } = await session.ownShare(id, identity.patient);
  if (!share.ended) throw new Failure("not-proved");
  go("shares");
}
