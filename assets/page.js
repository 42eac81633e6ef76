/* The page as a whole: what the browser's tab is called, a word to whoever comes first, an answer to each press. */
(() => {
  "use strict";
  const NAME = "Pointsmith", KNOWN = "pointsmith-known";

  /* The open tab, or the run that is open in it. */
  const named = () => {
    const tab = document.querySelector('#tabs [role="tab"][aria-selected="true"]');
    const name = tab ? tab.textContent.trim() : "";
    if (name !== "Runs") return name;
    const run = document.querySelector("#run-header h2");
    if (!run || !run.offsetParent) return name;
    const state = document.querySelector("#run-header .ps-chip");
    return state ? `${run.textContent} (${state.textContent})` : run.textContent;
  };

  /* Gradio puts an image into a button without a name. */
  const nameImages = () => {
    for (const one of document.querySelectorAll("#picture button:not([aria-label])")) one.setAttribute("aria-label", "The image that was asked about");
  };

  let waiting = 0;
  const title = () => {
    waiting = 0;
    nameImages();
    const name = named(), said = name && name !== "Train" ? `${name} · ${NAME}` : NAME;
    if (document.title !== said) document.title = said;
  };
  const later = () => { if (!waiting) waiting = setTimeout(title, 120); };

  window.pointsmithTitle = () => {
    new MutationObserver(later).observe(document.body, {
      subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["aria-selected"],
    });
    later();
  };

  /* One line for the first visit, until it is closed or a run is started. */
  window.pointsmithHello = (element) => {
    const line = element.querySelector(".ps-hello");
    let known = null;
    try { known = localStorage.getItem(KNOWN); } catch { known = "no storage"; }
    line.hidden = known !== null;
    const done = () => {
      line.hidden = true;
      try { localStorage.setItem(KNOWN, "1"); } catch { /* then it comes again */ }
    };
    line.querySelector("button").addEventListener("click", done);
    document.addEventListener("click", (event) => { if (event.target.closest("#start")) done(); });
  };

  /* A pressed button of these says at once that it was heard; it ends with the answer, or after a while. */
  const SLOW = "#start, #another, #matters, #check-data, #explain-look, #map-look, #paste-go, #many-go";
  const heard = (event) => {
    const button = event.target.closest(SLOW);
    if (!button || button.disabled) return;
    button.classList.add("ps-heard");
    setTimeout(() => button.classList.remove("ps-heard"), 1200);
  };
  /* Already when it goes down: that is painted before what the click sets off keeps the browser busy. */
  document.addEventListener("pointerdown", heard, true);
  document.addEventListener("click", heard, true);
})();
