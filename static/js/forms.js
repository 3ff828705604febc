// Plain forms on every page: sent once, with the token of now, and not by an Enter that was meant for a choice.

const AGAIN_MS = 10_000; // until then the answer to the first sending is awaited
const GUARD_MS = 350; // a key or click this soon after a page appeared was meant for the page before it
const sent = new WeakMap();
let shown = performance.now();

const token = () => document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  const now = performance.now();
  const early = form.hasAttribute("data-guarded") && now - shown < GUARD_MS;
  if (early || now - (sent.get(form) ?? -Infinity) < AGAIN_MS) {
    event.preventDefault();
    return;
  }
  sent.set(form, now);
  const field = form.elements.namedItem("csrfmiddlewaretoken");
  if (field && token()) field.value = token(); // another tab may have signed in since this page was made
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.target instanceof HTMLInputElement)) return;
  if (["radio", "checkbox"].includes(event.target.type) && event.target.form?.matches("#commit, #bulk")) event.preventDefault();
});

addEventListener("pageshow", (event) => {
  shown = performance.now();
  if (event.persisted) for (const form of document.forms) sent.delete(form);
});
