/**
 * The text of a QR code: by the camera, from a picture, or pasted. It is read on this device.
 * @module
 */

import { field, h, show } from "./dom.js";
import { explain, Failure } from "./failures.js";
import { pause } from "./http.js";
import { t } from "./i18n.js";

/** @typedef {HTMLVideoElement | ImageBitmap} Picture */

const LOOK_MS = 150;
const SIDE_MAX = 1_024;

/**
 * A field for the text of a code, with ways to fill it.
 * @param {string} label
 * @param {string} hint
 */
export function codeInput(label, hint) {
  const input = h("textarea", { rows: "4", required: true, autocomplete: "off", spellcheck: "false" });
  const finder = h("div", { class: "finder" });
  const status = h("p", { class: "hint", role: "status" });
  /** @param {() => Promise<string | null>} read */
  const fill = async (read) => {
    status.classList.remove("failed");
    show(status);
    try {
      const text = await read();
      if (text === null) return;
      input.value = text;
      show(status, t("scan.read"));
    } catch (error) {
      status.classList.add("failed");
      show(status, explain(error));
    }
  };
  const camera = h("button", { type: "button" }, t("scan.camera"));
  camera.addEventListener("click", () => void fill(() => throughCamera(finder)));
  const picture = h("input", { type: "file", accept: "image/*" });
  picture.addEventListener("change", () => {
    const file = picture.files?.[0];
    if (file) void fill(() => inFile(file));
    picture.value = ""; // the same picture may be chosen again
  });
  const ways = h(
    "div",
    { class: "scan" },
    navigator.mediaDevices !== undefined && camera,
    field(t("scan.picture"), picture),
    finder,
    status,
  );
  return { input, nodes: [field(label, input, hint), ways] };
}

/** What the camera sees first; null where the person stops looking. @param {HTMLElement} finder */
async function throughCamera(finder) {
  const stream = await navigator.mediaDevices
    .getUserMedia({ video: { facingMode: "environment" } })
    .catch(() => {
      throw new Failure("no-camera");
    });
  const stop = h("button", { type: "button", onclick: () => show(finder) }, t("scan.stop"));
  const video = h("video", { playsinline: true, muted: true, "aria-label": t("scan.finder") });
  video.srcObject = stream;
  show(finder, video, stop);
  try {
    await video.play();
    while (video.isConnected) {
      const text = await textIn(video, video.videoWidth, video.videoHeight);
      if (text !== null) return text;
      await pause(LOOK_MS);
    }
    return null;
  } finally {
    for (const track of stream.getTracks()) track.stop();
    show(finder);
  }
}

/** @param {File} file */
async function inFile(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Failure("no-picture");
  });
  const text = await textIn(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  if (text === null) throw new Failure("no-code-seen");
  return text;
}

/** @param {Picture} picture @param {number} width @param {number} height @returns {Promise<string | null>} */
async function textIn(picture, width, height) {
  if (width === 0 || height === 0) return null;
  const { decodeQR } = await import("../vendor/qr/decode.js"); // large, and seldom needed
  const scale = Math.min(1, SIDE_MAX / Math.max(width, height));
  const canvas = h("canvas", {
    width: String(Math.round(width * scale)), height: String(Math.round(height * scale)),
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Failure("no-picture");
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const image = context.getImageData(0, 0, canvas.width, canvas.height);
  try {
    return decodeQR(image);
  } catch {
    return null; // no code in it, or none that is whole: the library says so by an error
  }
}
