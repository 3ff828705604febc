// The session: its CSRF token, and asking for the password in place when it has ended. Knows nothing of labels.

const place = document.getElementById("labelling");
const dialog = document.getElementById("login");
const LOOK_MS = 5000;
let onReturn = () => {};

export function csrf() {
  return document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? "";
}

// A login changes the token: forms that are on the page already get the new one.
function renewTokens() {
  for (const field of document.querySelectorAll("input[name=csrfmiddlewaretoken]")) field.value = csrf();
}

// Called with what is to happen once somebody is signed in again.
export function whenBack(action) {
  onReturn = action;
}

export function askPassword() {
  if (!dialog.open) dialog.showModal();
}

// Somebody may sign in by a link, in another tab: then everything that waits is where it was.
async function look() {
  if (!dialog.open) return;
  const headers = { "X-Tandem-Login": "in-place" };
  const answer = await fetch(dialog.dataset.probe, { headers, credentials: "same-origin" }).catch(() => null);
  if (answer?.ok && dialog.open) location.reload();
}

setInterval(look, LOOK_MS);
addEventListener("focus", look);

export function signedIn() {
  if (dialog.open) dialog.close();
}

async function signIn(password) {
  await fetch(place.dataset.login, { credentials: "same-origin" }); // sets the token where it is missing
  const body = new URLSearchParams({ username: place.dataset.name, password });
  const headers = { "X-CSRFToken": csrf() };
  return fetch(place.dataset.login, { method: "POST", body, headers, redirect: "manual", credentials: "same-origin" });
}

dialog.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = dialog.querySelector("input[type=password]");
  const problem = dialog.querySelector("[role=alert]");
  problem.textContent = "";
  try {
    const answer = await signIn(field.value);
    if (answer.type === "opaqueredirect") {
      field.value = "";
      renewTokens();
      signedIn();
      onReturn();
      return;
    }
    const locked = answer.status === 403 || answer.status === 429;
    problem.textContent = locked ? "Too many attempts. Try again later." : "This password is not right.";
  } catch {
    problem.textContent = "The server cannot be reached. Try again.";
  }
  field.select();
});

dialog.addEventListener("cancel", (event) => event.preventDefault()); // Escape would leave labels waiting unseen

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-Tandem-Login"] = "in-place";
  event.detail.headers["X-CSRFToken"] = csrf();
  // A pair that was rendered before a new login carries the token of then.
  if (event.detail.parameters.csrfmiddlewaretoken) event.detail.parameters.csrfmiddlewaretoken = csrf();
});

document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) askPassword();
});
