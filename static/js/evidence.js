// Passages as evidence: mark what is selected, or walk through the sentences by arrow and mark them with Enter. Offsets
// count characters of a response's text as it is shown, and are stored with the words themselves.

const WALKING = new Set(["ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight", "Enter", " ", "Escape"]);
const MOST = 40; // passages, and characters of one: what labeling/forms.py takes
const LONGEST = 5000;
const status = document.getElementById("status");
const announcer = document.getElementById("announcer");
let at = null; // the sentence under the cursor, while walking: {side, number}

const stage = () => document.getElementById("stage");
const FIELDS = "input:not([type=radio]):not([type=checkbox]), textarea, select, button, a, summary";

const field = () => stage().querySelector("input[name=highlights]");
const body = (side) => stage().querySelector(`.sides:not(.diff) .response.${side} .prose`);

function marked() {
  try {
    return JSON.parse(field().value || "[]");
  } catch {
    return [];
  }
}

function store(passages) {
  field().value = passages.length > 0 ? JSON.stringify(passages) : "";
  field().dispatchEvent(new Event("change", { bubbles: true }));
  paint();
}

// --- between characters of the shown text and ranges of the page ----------------------------------------------------

function texts(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) found.push(walker.currentNode);
  return found;
}

function point(root, offset) {
  let left = offset;
  const nodes = texts(root);
  for (const node of nodes) {
    if (left <= node.length) return [node, left];
    left -= node.length;
  }
  const last = nodes.at(-1);
  return last ? [last, last.length] : [root, 0];
}

function rangeOf({ side, start, end }) {
  const range = document.createRange();
  range.setStart(...point(body(side), start));
  range.setEnd(...point(body(side), end));
  return range;
}

function offsetOf(root, node, offset) {
  const range = document.createRange();
  range.setStart(root, 0);
  range.setEnd(node, offset);
  return range.toString().length;
}

function passage(side, start, end) {
  const quote = body(side).textContent.slice(start, end);
  const from = start + (quote.length - quote.trimStart().length);
  return { side, start: from, end: from + quote.trim().length, quote: quote.trim() };
}

// --- what a person does ----------------------------------------------------------------------------------------------

function selected() {
  const selection = getSelection();
  if (!selection || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  for (const side of ["left", "right"]) {
    const root = body(side);
    if (!root?.contains(range.startContainer) || !root.contains(range.endContainer)) continue;
    const start = offsetOf(root, range.startContainer, range.startOffset);
    const found = passage(side, start, start + range.toString().length);
    selection.removeAllRanges();
    return found.quote ? found : null;
  }
  return null;
}

function sentences(side) {
  const text = body(side).textContent;
  const pieces = [...new Intl.Segmenter(document.documentElement.lang, { granularity: "sentence" }).segment(text)];
  return pieces.map((piece) => passage(side, piece.index, piece.index + piece.segment.length)).filter((one) => one.quote);
}

function toggle(one) {
  const others = marked().filter((other) => other.side !== one.side || other.end <= one.start || other.start >= one.end);
  const was = marked().length - others.length;
  const excess = was > 0 ? "" : refusal(one);
  status.textContent = excess;
  if (excess) return;
  store(was > 0 ? others : [...others, one]);
  announcer.textContent = was > 0 ? "Mark removed." : `Marked: ${one.quote}`;
}

function refusal(one) {
  if (one.quote.length > LONGEST) return `Not marked: a passage has at most ${LONGEST.toLocaleString("en")} characters.`;
  return marked().length >= MOST ? `Not marked: at most ${MOST} passages.` : "";
}

function walk(key) {
  const list = sentences(at.side);
  if (key === "ArrowDown") at.number = Math.min(list.length - 1, at.number + 1);
  if (key === "ArrowUp") at.number = Math.max(0, at.number - 1);
  if (key === "ArrowLeft" || key === "ArrowRight") at = { side: key === "ArrowLeft" ? "left" : "right", number: 0 };
  if (key === "Escape") at = null;
  else if (key === "Enter" || key === " ") toggle(list[at.number]);
  else announcer.textContent = `${at.side}: ${sentences(at.side)[at.number]?.quote ?? "no text"}`;
  paint();
}

function paint() {
  if (!("highlights" in CSS) || !field()) return;
  CSS.highlights.set("evidence", new Highlight(...marked().map(rangeOf)));
  const under = at ? sentences(at.side)[at.number] : null;
  CSS.highlights.set("cursor", new Highlight(...(under ? [rangeOf(under)] : [])));
  if (under) rangeOf(under).startContainer.parentElement.scrollIntoView({ block: "nearest" });
  const count = stage().querySelector("[data-evidence-count]");
  if (count) count.textContent = marked().length > 0 ? ` ${marked().length}` : "";
  stage().querySelector("[data-evidence-help]")?.toggleAttribute("hidden", at === null);
}

document.addEventListener("click", (event) => {
  if (!(event.target instanceof Element) || !event.target.closest("[data-evidence]")) return;
  const chosen = selected();
  if (chosen) toggle(chosen);
  else at = at ? null : { side: "left", number: 0 };
  event.target.closest("[data-evidence]").blur();
  paint();
});

// While walking the arrows walk; every other key does what it always does.
document.addEventListener(
  "keydown",
  (event) => {
    if (!at || !WALKING.has(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest(FIELDS) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    walk(event.key);
  },
  true,
);

document.addEventListener("tandem:shown", () => {
  at = null;
  paint();
});
paint();
