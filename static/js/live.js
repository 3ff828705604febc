// Regions that refresh themselves: no polling in a hidden tab, what was opened or scrolled stays so, what changed is
// said to screen readers, and a server that cannot be reached is named in words.

const announcer = document.getElementById("announcer");
const status = document.getElementById("status");
const trouble = document.getElementById("trouble");
const KEPT = "details[id], pre[id], .response-body[id]";
const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
const kept = new Map();
let focused = -1; // which of a polled region's elements had the focus
let sideways = []; // how far its tables were scrolled

function polled(event) {
  return event.detail.elt instanceof Element && event.detail.elt.hasAttribute("data-poll");
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (polled(event) && document.hidden) event.preventDefault();
});

document.addEventListener("htmx:configRequest", (event) => {
  // A login page in place of a region would throw away what is typed beside it.
  if (polled(event)) event.detail.headers["X-Tandem-Login"] = "in-place";
});

const among = (region, selector) => [...region.querySelectorAll(selector)];

document.addEventListener("htmx:beforeSwap", (event) => {
  const { target } = event.detail;
  focused = polled(event) ? among(target, FOCUSABLE).indexOf(document.activeElement) : -1;
  sideways = polled(event) ? among(target, ".scroll").map((box) => box.scrollLeft) : [];
  kept.clear();
  for (const box of target.querySelectorAll(KEPT)) {
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    kept.set(box.id, { open: box.open, top: box.scrollTop, follow: box.hasAttribute("data-follow") && atEnd });
  }
});

function restore(region) {
  among(region, ".scroll").forEach((box, number) => (box.scrollLeft = sideways[number] ?? 0));
  if (focused >= 0 && document.activeElement === document.body) among(region, FOCUSABLE)[focused]?.focus({ preventScroll: true });
  focused = -1;
  sideways = [];
  for (const box of region.querySelectorAll(KEPT)) {
    const before = kept.get(box.id);
    if (!before) continue;
    if (before.open && box instanceof HTMLDetailsElement) {
      box.setAttribute("data-restored", "");
      box.open = true;
    }
    box.scrollTop = before.follow ? box.scrollHeight : before.top;
  }
}

function say(element, text) {
  if (element.textContent.trim() !== text) element.textContent = text;
}

function announce(region) {
  const notice = region.closest("[data-notice]") ?? region.querySelector("[data-notice]");
  const news = region.closest("[data-announce]") ?? region.querySelector("[data-announce]");
  if (notice) say(status, notice.dataset.notice);
  else if (region.id === "stage" && region.dataset.stage !== "empty") say(status, "");
  if (news) say(announcer, news.dataset.announce);
}

document.addEventListener("htmx:afterSettle", (event) => {
  const region = event.detail.elt;
  if (!(region instanceof Element) || !region.isConnected) return;
  if (trouble.dataset.from !== "outbox") say(trouble, "");
  restore(region);
  announce(region);
});

function unreached(event) {
  if (trouble.dataset.from === "outbox") return; // it knows better what waits
  say(trouble, polled(event) ? "The server cannot be reached. This page goes on when it is back." : "The server cannot be reached: press the key again.");
}

document.addEventListener("htmx:sendError", unreached);
document.addEventListener("htmx:timeout", unreached);

document.addEventListener("htmx:responseError", (event) => {
  const { status: code } = event.detail.xhr;
  const asks = document.getElementById("login"); // the label screen does so itself
  if (code === 401 && !asks) say(trouble, "Your session has ended. Sign in in another tab: this page goes on by itself, and what is typed here stays.");
  if (polled(event) || code === 401) return;
  say(trouble, code === 403 ? "The server refused this. Reload the page." : `The server failed (${code}). ${lost(event)}`);
});

function lost(event) {
  if (event.detail.requestConfig.verb === "get") return "Nothing is lost: what was asked for is asked for again, or comes with a reload.";
  return "Nothing was saved: press the key again, or reload the page.";
}

for (const log of document.querySelectorAll("pre[data-follow]")) log.scrollTop = log.scrollHeight;
