/**
 * A DICOM study as a person reads it, and pictures of those frames whose bytes the record proves.
 *
 * An image file that comes along is not believed: bytes of it are drawn only if their digest is the
 * frame's proved digest, with the size and the depth that the digest covers too.
 * @module
 */

import { equal, fromHex, utf8 } from "../../light/bytes.js";
import { definitions, h } from "../dom.js";
import { named, t } from "../i18n.js";
import { hash } from "../keys.js";
import { listOf, objectOf, textOf } from "./tree.js";

/** @typedef {import("./tree.js").Json} Json */
/** @typedef {{[name: string]: Json}} Dataset attributes by tag, and `frame` */

const SHOWN = [
  "00100010", "00080020", "00080060", "00081030", "0008103e", "00180015", "00080080", "00081090",
];
const PREVIEWS_MAX = 8;
const PIXEL_DATA = Uint8Array.of(0xe0, 0x7f, 0x10, 0x00);

/** The instances of a study by SOP instance UID; null where the tree is no study. @param {Json} tree @returns {[string, Dataset][] | null} */
export function instancesOf(tree) {
  const instances = Object.entries(objectOf(tree) ?? {});
  const all = instances.map(([uid, value]) => [uid, objectOf(value)]);
  const study = all.length > 0 && all.every(([uid, value]) => /^[0-9.]+$/.test(String(uid)) && value);
  return study ? /** @type {[string, Dataset][]} */ (all) : null;
}

/** @param {Dataset} dataset @param {string} tag */
function valueOf(dataset, tag) {
  const element = objectOf(dataset[tag]);
  const values = listOf(element?.Value).map((value) => {
    const person = objectOf(value);
    return person === null ? String(value) : textOf(person.Ideographic) || textOf(person.Alphabetic);
  });
  return values.join(", ");
}

/** @param {readonly [string, Dataset][]} instances */
export function studyTitle(instances) {
  return valueOf(instances[0][1], "00081030") || valueOf(instances[0][1], "00080060");
}

/** @param {readonly [string, Dataset][]} instances @param {readonly Uint8Array[]} attachments */
export function renderStudy(instances, attachments) {
  const [, first] = instances[0];
  const pairs = SHOWN.filter((tag) => valueOf(first, tag) !== "").map(
    (tag) => /** @type {[string, string]} */ ([named("dicom", tag) ?? tag, valueOf(first, tag)]),
  );
  pairs.push([t("dicom.instances"), String(instances.length)]);
  const pictures = previews(instances, attachments);
  return h(
    "div",
    { class: "record" },
    definitions(pairs),
    ...pictures,
    h("p", { class: "hint" }, imageNote(attachments.length, pictures.length)),
  );
}

/** @param {number} files @param {number} pictures */
export function imageNote(files, pictures) {
  if (pictures > 0) return t("images.shown", { pictures });
  return files > 0 ? t("images.unproved", { files }) : t("images.none");
}

/** @param {readonly [string, Dataset][]} instances @param {readonly Uint8Array[]} files */
function previews(instances, files) {
  const pictures = [];
  for (const [uid, dataset] of instances) {
    if (pictures.length >= PREVIEWS_MAX) break;
    const file = files.find((data) => includes(data.subarray(0, 4_096), utf8(uid)));
    const drawn = file && firstFrame(dataset, file);
    if (drawn) pictures.push(drawn);
  }
  return pictures;
}

/**
 * The first frame as a picture, if the file holds it uncompressed and its digest is the proved one.
 * @param {Dataset} dataset
 * @param {Uint8Array} file
 */
function firstFrame(dataset, file) {
  const number = (/** @type {string} */ tag, /** @type {number} */ otherwise) =>
    Number(valueOf(dataset, tag) || otherwise);
  const [rows, columns] = [number("00280010", 0), number("00280011", 0)];
  const [samples, bits] = [number("00280002", 1), number("00280100", 16)];
  const sign = number("00280103", 0) === 1 ? "i" : "u";
  const size = (rows * columns * samples * bits) / 8;
  const proved = textOf(listOf(dataset.frame)[0]);
  if (!/^[0-9a-f]{64}$/.test(proved) || !(size > 0) || size > file.length || bits % 8 !== 0) return null;
  const digest = fromHex(proved);
  const shape = utf8(`${rows}x${columns}x${samples}:${sign}${bits}`);
  // Element head: tag, VR and length, or tag and length; the last tag of that form is the picture's.
  const at = lastIndexOf(file, PIXEL_DATA);
  for (const head of at < 0 ? [] : [12, 8]) {
    const pixels = file.slice(at + head, at + head + size);
    if (pixels.length === size && equal(hash("dicom-pixels", shape, pixels), digest)) {
      return draw(pixels, { rows, columns, samples, bits, sign });
    }
  }
  return null;
}

/**
 * @param {Uint8Array<ArrayBuffer>} pixels
 * @param {{rows: number, columns: number, samples: number, bits: number, sign: string}} shape
 */
function draw(pixels, { rows, columns, samples, bits, sign }) {
  if (samples !== 1 && samples !== 3) return null;
  const view = new DataView(pixels.buffer);
  const read = reader(view, bits, sign);
  if (read === null) return null;
  const count = rows * columns * samples;
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < count; i++) {
    low = Math.min(low, read(i));
    high = Math.max(high, read(i));
  }
  if (samples === 3) [low, high] = [0, 255];
  const picture = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = read(samples === 3 ? 3 * i + channel : i);
      picture.data[4 * i + channel] = (255 * (value - low)) / Math.max(high - low, 1);
    }
    picture.data[4 * i + 3] = 255;
  }
  const canvas = h("canvas", {
    role: "img", class: "preview", "aria-label": t("images.preview"),
    width: String(columns), height: String(rows),
  });
  canvas.getContext("2d")?.putImageData(picture, 0, 0);
  return canvas;
}

/** @param {DataView} view @param {number} bits @param {string} sign @returns {((i: number) => number) | null} */
function reader(view, bits, sign) {
  if (bits === 8) return sign === "i" ? (i) => view.getInt8(i) : (i) => view.getUint8(i);
  if (bits !== 16) return null;
  return sign === "i" ? (i) => view.getInt16(2 * i, true) : (i) => view.getUint16(2 * i, true);
}

/** @param {Uint8Array} data @param {Uint8Array} wanted */
function includes(data, wanted) {
  return lastIndexOf(data, wanted) >= 0;
}

/** @param {Uint8Array} data @param {Uint8Array} wanted */
function lastIndexOf(data, wanted) {
  for (let at = data.length - wanted.length; at >= 0; at--) {
    if (data[at] === wanted[0] && equal(data.subarray(at, at + wanted.length), wanted)) return at;
  }
  return -1;
}
