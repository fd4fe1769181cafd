// Small behaviours by attribute, all delegated, so that parts swapped in later have them too.
//
//   data-theme-toggle            light ↔ dark, remembered in a cookie that the server reads
//   data-copy="#id" or ""        copies that element's text (or the text before the button)
//   data-open="id", data-close   opens the <dialog> with that id; closes the one around it
//   data-name="Production"       in a dialog: its [data-if-named] buttons wait until the name is typed
//   data-reveal="#id"            shows or hides a password field's text
//   textarea[data-grow]          grows with its text, where CSS alone cannot do it
//   form[data-send]              Ctrl-Enter sends it
//   data-stop                    Esc clicks it
//   data-menu                    a <details> that closes on Esc and on a click elsewhere
//   form[data-auto]              sends itself when one of its fields changes
//   #palette                     Ctrl-K opens it, the arrow keys walk through what it found
//   input[data-filter="selector"]  hides those elements whose text does not hold what is typed
//   details[data-fold]           opens when such an element in it holds it

function toggleTheme() {
  const root = document.documentElement;
  const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
  root.dataset.bsTheme = root.dataset.themeChoice = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
}

async function copy(button) {
  const source = button.dataset.copy ? document.querySelector(button.dataset.copy) : button.previousElementSibling;
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyOverSelection(text);
  }
  button.dataset.copied = "";
  toast("Copied.", "success");
  setTimeout(() => delete button.dataset.copied, 2000);
}

// Browsers offer the clipboard only to pages from https or this machine.
function copyOverSelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

function toast(text, tone = "info") {
  const note = document.createElement("div");
  note.className = "note";
  note.dataset.tone = tone;
  note.textContent = text;
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 4000);
}

function openDialog(button) {
  const dialog = document.getElementById(button.dataset.open);
  if (dialog.open) return;
  dialog.querySelectorAll("[data-typed-name]").forEach(checkName);
  dialog.showModal();
  dialog.addEventListener("close", () => button.focus(), { once: true });
}

// Up and down go from the field through the hits and back.
function walk(event) {
  const stops = [...event.target.closest("#palette").querySelectorAll("input, .hits a")];
  const next = stops.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1);
  event.preventDefault();
  stops[(next + stops.length) % stops.length].focus();
}

function checkName(field) {
  const dialog = field.closest("[data-name]");
  const matches = field.value.trim() === dialog.dataset.name;
  for (const button of dialog.querySelectorAll("[data-if-named]")) button.disabled = !matches;
}

function reveal(button) {
  const field = document.querySelector(button.dataset.reveal);
  field.type = field.type === "password" ? "text" : "password";
  button.setAttribute("aria-pressed", String(field.type === "text"));
}

function grow(field) {
  if (CSS.supports("field-sizing", "content")) return;
  field.rows = Math.min(16, Math.max(field.dataset.grow || 3, field.value.split("\n").length));
}

// What was wrong with a field is no longer true once it is edited.
function forgive(field) {
  field.removeAttribute("aria-invalid");
  document.getElementById(`${field.id}_error`)?.remove();
}

function filter(field) {
  const wanted = field.value.trim().toLowerCase();
  for (const item of document.querySelectorAll(field.dataset.filter)) {
    item.hidden = !item.textContent.toLowerCase().includes(wanted);
    const fold = item.closest("details[data-fold]");
    if (fold && wanted && !item.hidden) fold.open = true;
  }
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) if (menu !== except) menu.open = false;
}

const CLICKS = {
  "[data-theme-toggle]": toggleTheme,
  "[data-copy]": copy,
  "[data-open]": openDialog,
  "[data-close]": (button) => button.closest("dialog").close(),
  "[data-reveal]": reveal,
};

document.addEventListener("click", (event) => {
  closeMenus(event.target.closest("details[data-menu]"));
  for (const [selector, act] of Object.entries(CLICKS)) {
    const button = event.target.closest(selector);
    if (button?.matches("a")) event.preventDefault();
    if (button) act(button);
  }
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-grow]")) grow(event.target);
  if (event.target.matches("[data-filter]")) filter(event.target);
  if (event.target.matches("[aria-invalid]")) forgive(event.target);
  if (event.target.matches("[data-name] [data-typed-name]")) checkName(event.target);
});

document.addEventListener("change", (event) => {
  event.target.form?.matches("[data-auto]") && event.target.form.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    document.querySelector("[data-open=palette]:not(dialog[open] *)")?.click();
  } else if (["ArrowDown", "ArrowUp"].includes(event.key) && event.target.closest("#palette")) {
    walk(event);
  } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.target.closest("form[data-send]")?.requestSubmit();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    const menu = event.target.closest("details[data-menu][open]");
    if (location.hash === "#rail") location.hash = "#main";
    else if (menu) menu.querySelector("summary").focus();
    else document.querySelector("[data-stop]:not([hidden], :disabled)")?.click();
    closeMenus();
  }
});

addEventListener("hashchange", () => {
  if (location.hash === "#rail") document.querySelector("#rail nav a")?.focus();
});

// The first field that was refused is where its reader goes on, or the sentence about several fields together.
function goToRefused() {
  if (document.activeElement !== document.body) return;
  const field = document.querySelector("main [aria-invalid]");
  const sentence = document.querySelector("main .errorlist.nonfield");
  if (sentence) sentence.tabIndex = -1;
  (field || sentence)?.focus();
}

goToRefused();
document.addEventListener("htmx:after:swap", goToRefused);
