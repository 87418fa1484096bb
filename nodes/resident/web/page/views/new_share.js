/**
 * A new share: which records, for how long, behind which passcode.
 * @module
 */

import { DAY_MS } from "../actions.js";
import { field, h, select, show } from "../dom.js";
import { Failure } from "../failures.js";
import { t } from "../i18n.js";
import { form, kindName } from "../parts.js";
import { recordList } from "../records.js";
import { shortDate } from "../render/fhir.js";
import { ATTEMPTS_MAX, createShare, DAYS_MAX, ROWS_MAX, shareAddress } from "../shares.js";
import { qrPanel } from "./shares.js";

/** @typedef {import("../main.js").App} App */
/** @typedef {import("../records.js").RecordList["rows"][number]} Row */

/** @param {App} app */
export async function newShareView(app) {
  const { session, store, identity } = app;
  const list = await recordList(session, store, identity);
  const rows = list.rows.filter((row) => row.status !== "erased");
  const boxes = [...rows].reverse().map((row) => ({ row, box: h("input", { type: "checkbox" }) }));
  const inputs = shareInputs();
  const panel = h("section", {});
  const act = async () => {
    const chosen = boxes.filter(({ box }) => box.checked).map(({ row }) => row);
    const link = await createShare(session, store, identity, wish(chosen, inputs));
    show(panel, made(shareAddress(link), inputs.passcode.value));
    panel.querySelector("h1")?.scrollIntoView();
  };
  show(
    panel,
    h("p", {}, h("a", { href: "#shares" }, t("action.back"))),
    h("h1", {}, t("share.title")),
    form(
      [
        h(
          "fieldset",
          {},
          h("legend", {}, t("share.which")),
          h("p", { class: "hint" }, t("share.one-hospital", { most: ROWS_MAX })),
          ...boxes.map(({ row, box }) => h("label", { class: "choice" }, box, rowText(row, session))),
        ),
        field(t("share.label"), inputs.label, t("share.label-hint")),
        field(t("share.passcode"), inputs.passcode, t("share.passcode-hint")),
        field(t("share.days"), inputs.days),
        field(t("share.attempts"), inputs.attempts, t("share.attempts-hint")),
        field(t("share.view"), inputs.view),
      ],
      t("share.make"),
      act,
    ),
  );
  return panel;
}

function shareInputs() {
  const digits = crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
  return {
    label: h("input", { maxlength: "80", autocomplete: "off" }),
    passcode: h("input", {
      required: true, minlength: "4", maxlength: "64", autocomplete: "off",
      value: String(digits).padStart(6, "0"),
    }),
    days: h("input", { type: "number", min: "1", max: String(DAYS_MAX), value: "7", required: true }),
    attempts: h("input", {
      type: "number", min: "1", max: String(ATTEMPTS_MAX), value: "5", required: true,
    }),
    view: select([["resident", t("share.view-resident")], ["clinical", t("share.view-clinical")]]),
  };
}

/** @param {readonly Row[]} chosen @param {ReturnType<typeof shareInputs>} inputs */
function wish(chosen, { label, passcode, days, attempts, view }) {
  const holders = new Set(chosen.map(({ row }) => row.member));
  if (chosen.length === 0) throw new Failure("share-nothing");
  if (chosen.length > ROWS_MAX) throw new Failure("share-too-many", { most: ROWS_MAX });
  if (holders.size > 1) throw new Failure("share/several-holders");
  return {
    rows: chosen.map(({ index }) => index),
    holder: [...holders][0],
    view: view.value,
    // A minute less: the chain's clock and this one differ.
    untilMs: Date.now() + Number(days.value) * DAY_MS - 60_000,
    passcode: passcode.value,
    attempts: Number(attempts.value),
    label: label.value.trim(),
  };
}

/** @param {Row} row @param {App["session"]} session */
function rowText({ index, row, metadata }, session) {
  const kind = metadata === null ? t("records.sealed") : kindName(metadata.kind);
  const when = metadata?.effective ? shortDate(metadata.effective) : "";
  const place = t("records.row", { hospital: session.nameOf(row.member), number: index + 1 });
  return [kind, when, place].filter(Boolean).join(" · ");
}

/** @param {string} address @param {string} passcode */
function made(address, passcode) {
  return h(
    "div",
    {},
    h("h1", {}, t("share.made")),
    h("p", {}, t("share.made-hint")),
    qrPanel(address),
    h("p", {}, t("share.your-passcode"), " ", h("strong", { class: "passcode" }, passcode)),
    h("p", { class: "hint" }, t("share.passcode-once")),
    h("p", {}, h("a", { class: "button", href: "#shares" }, t("share.to-list"))),
  );
}
