// The label screen: time on a pair, drafts of comments, the second half of a double click, and where the focus goes.

const GUARD_MS = 350; // a click this soon after a new pair appeared was meant for the pair before it

let stage = "";
let shownAt = 0;
let hiddenFor = 0;
let hiddenSince = 0;

function draftKey(field) {
  return `tandem-draft-${field.dataset.draft}`;
}

function enter() {
  const current = document.getElementById("stage");
  if (!current || current.dataset.stage === stage) return false;
  stage = current.dataset.stage;
  shownAt = performance.now();
  hiddenFor = 0;
  hiddenSince = document.hidden ? shownAt : 0;
  for (const field of current.querySelectorAll("[data-draft]")) {
    field.value ||= sessionStorage.getItem(draftKey(field)) ?? "";
    field.closest("details").classList.toggle("filled", field.value !== "");
  }
  return true;
}

function seconds() {
  const hidden = hiddenFor + (hiddenSince ? performance.now() - hiddenSince : 0);
  return ((performance.now() - shownAt - hidden) / 1000).toFixed(2);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenSince = performance.now();
  else if (hiddenSince) {
    hiddenFor += performance.now() - hiddenSince;
    hiddenSince = 0;
  }
});

document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.dataset?.draft) return;
  sessionStorage.setItem(draftKey(field), field.value);
  field.closest("details").classList.toggle("filled", field.value !== "");
});

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.hasAttribute("data-seconds")) event.detail.parameters.seconds = seconds();
});

document.addEventListener("submit", (event) => {
  const field = event.target.elements?.namedItem("seconds");
  if (field) field.value = seconds();
});

document.addEventListener(
  "click",
  (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-verdict] button") : null;
    if (!button || event.detail === 0) return; // a key, not the mouse
    if (event.detail > 1 || performance.now() - shownAt < GUARD_MS) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  },
  true,
);

document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.detail.elt;
  if (form.id !== "commit" || !event.detail.successful) return;
  for (const field of form.elements) if (field.dataset.draft) sessionStorage.removeItem(draftKey(field));
});

document.addEventListener("htmx:afterSwap", () => {
  const fromReveal = stage.startsWith("label-");
  const before = stage;
  if (!enter()) return;
  const isReveal = stage.startsWith("label-");
  if (!isReveal || fromReveal) window.scrollTo(0, 0);
  if (before !== "" && document.activeElement === document.body) {
    document.querySelector("[data-stage-title]")?.focus({ preventScroll: true });
  }
});

enter();
