// The tabs beside the chat, delegated like mesh.js.
//
//   [data-download="#picture"]   saves that picture, which the page already holds, under data-name

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-download]");
  if (!button) return;
  const picture = document.querySelector(button.dataset.download);
  Object.assign(document.createElement("a"), { href: picture.src, download: button.dataset.name }).click();
});
