// The playground's own behaviours, delegated like those of mesh.js.
//
//   [data-filter=".row"]   a search field that hides the rows beside it that do not match
//   input[data-slider]     a number that also gets a slider; blank stays "the provider's default"
//   [data-follow]          scrolls with its growing content while its end is in sight
//   [data-estimate]        about how many tokens the composer holds
//   [data-file-name]       the name of the chosen picture

const encoder = new TextEncoder();
let following = true;

function filter(field) {
  const sheet = field.closest(".picker-sheet");
  const words = field.value.toLowerCase().split(/\s+/);
  let found = 0;
  for (const row of sheet.querySelectorAll(field.dataset.filter)) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    if (!row.hidden) found += 1;
  }
  sheet.querySelector(".picker-none").hidden = found > 0;
}

function addSlider(number) {
  const [low, high] = number.dataset.slider.split(" ").map(Number);
  const slider = Object.assign(document.createElement("input"), { type: "range", min: low, max: high, step: 0.01 });
  slider.value = number.value || (low + high) / 2;
  slider.className = "form-range";
  slider.setAttribute("aria-label", `${number.labels[0].firstChild.textContent.trim()}, slider`);
  slider.toggleAttribute("data-unset", !number.value);
  number.after(slider);
}

function slide(event) {
  const { target } = event;
  if (target.type === "range") {
    target.previousElementSibling.value = target.value;
    target.removeAttribute("data-unset");
  } else if (target.matches("[data-slider]")) {
    const slider = target.nextElementSibling;
    if (target.value) slider.value = target.value;
    slider.toggleAttribute("data-unset", !target.value);
  }
}

function addCopyButton(code) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "copy-code", textContent: "Copy" });
  button.setAttribute("aria-label", "Copy the code");
  button.dataset.copy = "";
  code.after(button);
}

function estimate() {
  const text = document.querySelector("#question textarea").value;
  const tokens = Math.ceil(encoder.encode(text).length / 4);
  document.querySelector("[data-estimate]").textContent = `≈ ${tokens.toLocaleString("en")} tokens`;
}

function follow() {
  for (const lane of document.querySelectorAll("[data-follow]")) if (following) lane.scrollTop = lane.scrollHeight;
}

function dress() {
  for (const number of document.querySelectorAll("input[data-slider]:not(:has(+ [type=range]))")) addSlider(number);
  for (const code of document.querySelectorAll(".answer pre:not(:has(+ .copy-code))")) addCopyButton(code);
}

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-filter]")) filter(event.target);
  if (event.target.closest("#question")) estimate();
  slide(event);
});

document.addEventListener("change", (event) => {
  if (event.target.type !== "file") return;
  event.target.parentElement.querySelector("[data-file-name]").textContent = event.target.files[0]?.name ?? "";
});

// The stream has begun: the blank page becomes the conversation's, and the composer is ready for what comes next.
document.addEventListener("htmx:sse:after:connection", (event) => {
  if (event.target.id !== "composer") return;
  following = true;
  history.replaceState(history.state, "", event.target.dataset.address);
});

document.addEventListener("htmx:after:swap", () => {
  dress();
  estimate();
  follow();
});

document.addEventListener("htmx:sse:close", () => document.querySelector("#question textarea").focus());

// Growing content fires no scroll event: this one is the reader's doing, or ours.
document.addEventListener(
  "scroll",
  ({ target }) => {
    if (target.matches?.("[data-follow]")) following = target.scrollHeight - target.scrollTop - target.clientHeight < 80;
  },
  true,
);

dress();
estimate();
follow();
