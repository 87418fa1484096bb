/**
 * The recipient's page: a link and a passcode open what was shared; its proofs are verified here.
 * @module
 */

import { toHex } from "../light/bytes.js";
import { field, h, show } from "./dom.js";
import { explain } from "./failures.js";
import { dateTime, named, preferredLanguage, setLanguage, t } from "./i18n.js";
import { describe, failurePanel, form, kindName, languageButton, proofBox, recordBody, working } from "./parts.js";
import { dateOf } from "./render/fhir.js";
import { statusNote } from "./render/status.js";
import { objectOf } from "./render/tree.js";
import { Session } from "./session.js";
import { openShare } from "./shared.js";
import { parseLink } from "./shares.js";

/** @typedef {import("./shared.js").SharedRecord} SharedRecord */

/** What was opened, so that another language can be chosen without another opening. @type {{session: Session, records: SharedRecord[]} | null} */
let opened = null;

async function render() {
  const main = h("main", { id: "main", tabindex: "-1" }, working());
  show(
    document.body,
    h("header", {}, h("span", { class: "brand" }, t("app.name")), languageButton(() => void render())),
    main,
  );
  try {
    show(main, opened === null ? await passcodePanel(main) : recordsPanel(opened));
  } catch (error) {
    show(main, failurePanel(explain(error), () => void render()));
  }
  document.title = `${main.querySelector("h1")?.textContent ?? ""} · ${t("app.name")}`;
}

/** @param {HTMLElement} main */
async function passcodePanel(main) {
  const link = parseLink(location.hash);
  const session = await Session.open(null, link.chainId);
  const passcode = h("input", { required: true, maxlength: "64", autocomplete: "off" });
  const act = async () => {
    opened = { session, records: await openShare(session, link, passcode.value) };
    show(main, recordsPanel(opened));
    main.focus({ preventScroll: true });
  };
  return h(
    "section",
    {},
    h("h1", {}, t("recipient.title")),
    link.label && h("p", { class: "lead" }, link.label),
    link.label && h("p", { class: "hint" }, t("recipient.label-unproved")),
    h("p", {}, t("recipient.intro", { time: dateTime(link.expiresMs) })),
    form([field(t("share.passcode"), passcode, t("recipient.passcode-hint"))], t("recipient.open"), act),
    h("p", { class: "hint" }, t("recipient.logged")),
  );
}

/** @param {{session: Session, records: SharedRecord[]}} opened */
function recordsPanel({ session, records }) {
  return h("div", {}, ...records.map((one) => recordPanel(session, one)));
}

/** @param {Session} session @param {SharedRecord} shared */
function recordPanel(session, { listed, record, rules, attachments, share, header, ageMs }) {
  const { kind, title, tree } = describe(record);
  const hospital = session.nameOf(listed.row.member);
  const date = dateOf(objectOf(tree) ?? {});
  return h(
    "article",
    {},
    h("h1", {}, kindName(kind)),
    title && h("p", { class: "lead" }, title),
    h("p", { class: "hint" }, [date, hospital].filter(Boolean).join(" · ")),
    statusNote(listed.status),
    recordBody(record, rules, attachments),
    proofBox(t("record.proved", { count: record.fields.length, hospital }), header, ageMs, false, [
      [t("proof.root"), toHex(listed.row.root)],
      [t("device.chain"), toHex(session.chainId)],
      [t("readers.view"), named("view", share.view) ?? share.view],
      [t("recipient.until"), dateTime(share.untilMs)],
      [t("proof.checked"), t("recipient.checked")],
    ]),
  );
}

async function start() {
  await setLanguage(preferredLanguage());
  addEventListener("hashchange", () => {
    opened = null;
    void render();
  });
  await render();
}

void start();
