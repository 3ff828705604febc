// Regions that refresh themselves: no polling in a hidden tab, what was opened or scrolled stays so, what changed is
// said to screen readers, and a server that cannot be reached is named in words.

const announcer = document.getElementById("announcer");
const status = document.getElementById("status");
const trouble = document.getElementById("trouble");
const kept = new Map();

function polled(event) {
  return event.detail.elt instanceof Element && event.detail.elt.hasAttribute("data-poll");
}

document.addEventListener("htmx:beforeRequest", (event) => {
  if (polled(event) && document.hidden) event.preventDefault();
});

document.addEventListener("htmx:beforeSwap", (event) => {
  kept.clear();
  for (const box of event.detail.target.querySelectorAll("details[id], pre[id]")) {
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    kept.set(box.id, { open: box.open, top: box.scrollTop, follow: box.hasAttribute("data-follow") && atEnd });
  }
});

function restore(region) {
  for (const box of region.querySelectorAll("details[id], pre[id]")) {
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

document.addEventListener("htmx:sendError", (event) => {
  if (trouble.dataset.from === "outbox") return; // it knows better what waits
  say(trouble, polled(event) ? "The server cannot be reached. This page goes on when it is back." : "The server cannot be reached: press the key again.");
});

document.addEventListener("htmx:responseError", (event) => {
  if (polled(event) || event.detail.xhr.status === 401) return;
  const { status: code } = event.detail.xhr;
  say(trouble, code === 403 ? "The server refused this. Reload the page." : `The server failed (${code}). Nothing was saved: press the key again, or reload the page.`);
});

for (const log of document.querySelectorAll("pre[data-follow]")) log.scrollTop = log.scrollHeight;
