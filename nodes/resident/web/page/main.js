/**
 * The resident's page: opens what this device keeps, then shows one screen after the other.
 * @module
 */

import { toHex } from "../light/bytes.js";
import { h, select, show } from "./dom.js";
import { explain, Failure } from "./failures.js";
import { preferredLanguage, setLanguage, t } from "./i18n.js";
import { failurePanel, languageButton, working } from "./parts.js";
import { Session } from "./session.js";
import { Store } from "./store.js";
import { checkView } from "./views/check.js";
import { consentView } from "./views/consent.js";
import { deviceView } from "./views/device.js";
import { enrolView } from "./views/enrol.js";
import { readersView } from "./views/readers.js";
import { recordView } from "./views/record.js";
import { recordsView } from "./views/records.js";
import { newShareView } from "./views/new_share.js";
import { sharesView } from "./views/shares.js";

/** @typedef {import("./store.js").Identity} Identity */

/**
 * What a screen works with.
 * @typedef {object} App
 * @property {Store} store
 * @property {Identity} identity
 * @property {Session} session
 * @property {(hash: string) => void} go to another screen, or to this one again
 */

/** @type {Readonly<Record<string, (app: App, ...places: string[]) => Promise<Node>>>} */
const SCREENS = {
  records: recordsView,
  record: recordView,
  readers: readersView,
  consent: consentView,
  shares: sharesView,
  "new-share": newShareView,
  device: deviceView,
  check: checkView,
};
const TABS = /** @type {const} */ (["records", "readers", "consent", "shares", "device"]);
const CHOSEN = "yilian-identity";

/** @type {Store} */
let store;
/** Sessions of this visit, by chain. @type {Map<string, Promise<Session>>} */
const sessions = new Map();
let turn = 0;

/** @param {Uint8Array} chainId */
function sessionOf(chainId) {
  const name = toHex(chainId);
  const known = sessions.get(name);
  if (known !== undefined) return known;
  const made = Session.open(store, chainId);
  sessions.set(name, made);
  made.catch(() => sessions.delete(name));
  return made;
}

/** @param {readonly Identity[]} identities */
function chosenOf(identities) {
  const wanted = localStorage.getItem(CHOSEN);
  return identities.find((one) => one.keyId === wanted) ?? identities[0];
}

/** @param {string} target */
function go(target) {
  if (location.hash === `#${target}`) void render();
  else location.hash = target;
}

async function render() {
  const mine = ++turn;
  const [name, ...places] = decodeURIComponent(location.hash.slice(1)).split("/");
  const identities = await store.all("identities");
  const identity = chosenOf(identities);
  const enrolling = identity === undefined || !identity.bound || name === "enrol";
  const screen = enrolling ? "enrol" : Object.hasOwn(SCREENS, name) ? name : "records";
  const main = h("main", { id: "main", tabindex: "-1" }, working());
  show(
    document.body,
    header(identities, identity),
    main,
    !enrolling && navigation(screen),
  );
  let content;
  try {
    if (enrolling) {
      content = await enrolView({ store, sessionOf, identities, go, begin: name === "enrol" });
    } else {
      const session = await sessionOf(identity.chainId);
      content = await SCREENS[screen]({ store, identity, session, go }, ...places);
    }
  } catch (error) {
    const check = !enrolling && h("p", {}, h("a", { href: "#check" }, t("check.title")));
    content = failurePanel(explain(error), () => void render(), check);
  }
  if (mine !== turn) return;
  show(main, content);
  document.title = `${main.querySelector("h1")?.textContent ?? ""} · ${t("app.name")}`;
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** @param {readonly Identity[]} identities @param {Identity | undefined} identity */
function header(identities, identity) {
  const bound = identities.filter((one) => one.bound);
  const people = select(bound.map((one) => [one.keyId, one.label]), identity?.keyId);
  people.setAttribute("aria-label", t("app.whose"));
  people.addEventListener("change", () => {
    localStorage.setItem(CHOSEN, people.value);
    go("records");
  });
  return h(
    "header",
    {},
    h("a", { class: "skip", href: "#main", onclick: skip }, t("app.skip")),
    h("span", { class: "brand" }, t("app.name")),
    bound.length > 1 && people,
    languageButton(() => void render()),
  );
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault(); // the address after # names the screen
  document.getElementById("main")?.focus();
}

/** @param {string} screen */
function navigation(screen) {
  /** @type {Readonly<Record<string, string>>} */
  const parents = { record: "records", "new-share": "shares", check: "device" };
  const current = parents[screen] ?? screen;
  /** @type {Readonly<Record<string, string>>} */
  const labels = {
    records: t("tab.records"),
    readers: t("tab.readers"),
    consent: t("tab.consent"),
    shares: t("tab.shares"),
    device: t("tab.device"),
  };
  return h(
    "nav",
    { "aria-label": t("app.navigation") },
    ...TABS.map((tab) =>
      h(
        "a",
        { href: `#${tab}`, "aria-current": tab === current ? "page" : undefined },
        labels[tab],
      ),
    ),
  );
}

/** The page itself is kept for when there is no network. */
async function keepPage() {
  if (!("serviceWorker" in navigator)) return;
  const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("worker", {
    createScriptURL: () => "/worker.js",
  });
  await navigator.serviceWorker.register(policy?.createScriptURL("") ?? "/worker.js");
}

async function start() {
  await setLanguage(preferredLanguage());
  try {
    if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) throw new Failure("insecure");
    store = await Store.open();
  } catch (error) {
    return show(document.body, h("main", {}, failurePanel(explain(error), () => location.reload())));
  }
  addEventListener("hashchange", () => void render());
  await render();
  await keepPage().catch((error) => console.warn("the page is not kept:", error));
}

void start();
