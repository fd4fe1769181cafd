// Loaded before the first paint: "auto" follows the system. A choice of light or dark comes from the server.
const dark = matchMedia("(prefers-color-scheme: dark)");

function followSystem() {
  const root = document.documentElement;
  if (root.dataset.themeChoice === "auto") root.dataset.bsTheme = dark.matches ? "dark" : "light";
}

followSystem();
dark.addEventListener("change", followSystem);
