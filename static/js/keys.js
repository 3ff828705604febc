// Keys press what is printed on them: <button data-key="1 ArrowLeft">. A key never fires while somebody types, with a
// modifier, or when it is held down.

const TYPING = "input:not([type=radio]):not([type=checkbox]):not([type=submit]), textarea, select, [contenteditable]";
const PRESSABLE = "a, button, summary, [role=button]";
const BOUNCE_MS = 120; // the same key again within this time is a bouncing key, not a second verdict

const OFF = "tandem-keys-off"; // of this browser: those who speak to it would press keys by talking

let last = { key: "", at: 0 };

const off = () => localStorage.getItem(OFF) !== null;

function typing(target) {
  return target instanceof Element && target.closest(TYPING) !== null;
}

function scrollsSideways(target) {
  const box = target instanceof Element ? target.closest("[tabindex='0']") : null;
  return box !== null && box.scrollWidth > box.clientWidth + 1;
}

// In a group of radio buttons the arrows choose.
function choosing(target) {
  return target instanceof Element && target.matches("input[type=radio]");
}

// As data-key writes it: "a", "?", "Enter", "Shift+ArrowLeft".
function named(event) {
  if (event.key.length === 1) return event.key.toLowerCase();
  return event.shiftKey ? `Shift+${event.key}` : event.key;
}

function find(wanted) {
  for (const element of document.querySelectorAll("[data-key]")) {
    const usable = !element.matches(":disabled") && element.getClientRects().length > 0;
    if (usable && element.dataset.key.split(" ").includes(wanted)) return element;
  }
  return null;
}

function press(element) {
  if (element.matches(TYPING)) element.focus();
  else if (element.hasAttribute("data-focuses")) document.querySelector(element.dataset.focuses)?.focus();
  else element.click();
  const opened = element.closest("details.pop[open]");
  if (opened) enter(opened); // at once: the next key already belongs to the field
}

function enter(opened) {
  const field = opened.querySelector("[data-focus-on-open]");
  if (field && !opened.hasAttribute("data-restored")) field.focus();
  opened.removeAttribute("data-restored");
}

function ignored(event) {
  if (event.defaultPrevented || event.repeat) return true;
  if (event.ctrlKey || event.altKey || event.metaKey) return true;
  // Shift makes no other letter, but on many keyboards it makes the sign that is printed.
  if (event.shiftKey && event.key.length === 1 && event.key.toLowerCase() !== event.key.toUpperCase()) return true;
  if (event.key === "Enter" && event.target instanceof Element && event.target.closest(PRESSABLE)) return true;
  return event.key.startsWith("Arrow") && (scrollsSideways(event.target) || choosing(event.target));
}

function leave(event) {
  const open = document.querySelector("details.pop[open]");
  if (typing(event.target) || choosing(event.target)) event.target.blur();
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
    document.activeElement.blur();
  }
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.isComposing || event.keyCode === 229) return;
  if (event.key === "Escape") return leave(event);
  if (off() || typing(event.target) || ignored(event)) return;
  const element = find(named(event));
  if (!element) return;
  event.preventDefault();
  const now = performance.now();
  if (last.key === event.key && now - last.at < BOUNCE_MS) return;
  last = { key: event.key, at: now };
  press(element);
});

function show() {
  document.documentElement.classList.toggle("no-keys", off());
  const box = document.querySelector("[data-keys-off]");
  if (box) box.checked = off();
}

document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-keys-off]")) return;
  if (event.target.checked) localStorage.setItem(OFF, "");
  else localStorage.removeItem(OFF);
  show();
});
show();

document.addEventListener("click", (event) => {
  const opener = event.target instanceof Element ? event.target.closest("[data-dialog]") : null;
  if (opener) document.getElementById(opener.dataset.dialog).showModal();
});

// One pop-up at a time, and straight into its field.
document.addEventListener(
  "toggle",
  (event) => {
    const opened = event.target;
    if (!(opened instanceof HTMLDetailsElement) || !opened.open || !opened.classList.contains("pop")) return;
    for (const other of document.querySelectorAll("details.pop[open]")) if (other !== opened) other.open = false;
    enter(opened);
  },
  true,
);

document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.pop[open]")) if (!open.contains(event.target)) open.open = false;
});
