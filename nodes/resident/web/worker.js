/**
 * Keeps the page itself for when there is no network. Answers of the API are never kept here: what
 * was read lies in IndexedDB with its proofs, and is verified again.
 * @module
 */

const CACHE = "yilian-page";
const worker = /** @type {any} */ (self);

worker.addEventListener("install", (/** @type {any} */ event) => {
  event.waitUntil(keepAll().then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil(worker.clients.claim());
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || pathname.startsWith("/v1/")) return;
  event.respondWith(newestOrKept(event.request, pathname));
});

async function keepAll() {
  const files = await (await fetch("/files.json")).json();
  const cache = await caches.open(CACHE);
  await cache.addAll(["/", ...files.map((/** @type {string} */ name) => `/${name}`)]);
}

/** The network's file where there is one, so that a new version is seen at once. @param {Request} request @param {string} pathname */
async function newestOrKept(request, pathname) {
  const cache = await caches.open(CACHE);
  try {
    const answer = await fetch(request);
    if (answer.ok) await cache.put(pathname, answer.clone());
    return answer;
  } catch (error) {
    const kept = await cache.match(pathname);
    if (kept === undefined) throw error;
    return kept;
  }
}
