/**
 * QR codes, drawn in the page: a share's token reaches no server on the way.
 * @module
 */

import { encodeQR } from "../vendor/qr/index.js";
import { h } from "./dom.js";

const MODULE = 4;
const BORDER = 4;

/** @param {string} text @param {string} label for who cannot see it */
export function qrCode(text, label) {
  const modules = encodeQR(text, "raw", { ecc: "low", border: BORDER });
  const size = String(modules.length * MODULE);
  const canvas = h("canvas", { role: "img", "aria-label": label, width: size, height: size });
  const context = canvas.getContext("2d");
  if (context !== null) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = "#000";
    modules.forEach((row, y) => row.forEach((dark, x) => {
      if (dark) context.fillRect(x * MODULE, y * MODULE, MODULE, MODULE);
    }));
  }
  return canvas;
}
