// Puts the page together.

R.summary = () => {
  const failed = R.trials.filter((t) => t.status === "failed").length;
  const waiting = R.trials.filter((t) => t.status === "waiting").length;
  const words = [
    R.count(R.candidates.length, "merge"), `${R.front.length} on the front`, R.count(R.parents.length, "parent"),
    failed ? `${failed} failed` : "", waiting ? `${waiting} waiting` : "",
    R.facts.methods.join(" or "), R.facts.optimizer ? `proposed by ${R.facts.optimizer}` : "",
  ];
  R.byId("run").textContent = R.facts.run;
  R.byId("summary").textContent = words.filter(Boolean).join(" · ");
  const items = Object.entries(R.facts.items).map(([task, n]) => `${task}: ${n.search ?? 0} items searched on, ${n.holdout ?? 0} held out`);
  R.byId("foot").textContent = [
    `Made ${new Date(1000 * R.facts.made).toLocaleString()} by mergekit-mo ${R.facts.version}${R.facts.machine ? `; the search ran on ${R.facts.machine}` : ""}.`,
    items.length ? `${items.join("; ")}.` : "",
    "Front and choices go by search scores; hold-out scores are for looking at. Charts: Apache ECharts, Apache-2.0.",
  ].filter(Boolean).join(" ");
};

// The theme: the system's, until the button says otherwise.
R.themeStart = () => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = R.byId("theme");
  let own = null;
  const apply = () => {
    const dark = own === null ? system.matches : own === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light" : "Dark";
    button.setAttribute("aria-label", dark ? "Switch to light colours" : "Switch to dark colours");
    R.emit("theme");
  };
  button.addEventListener("click", () => {
    own = R.dark() ? "light" : "dark";
    apply();
  });
  system.addEventListener("change", apply);
  apply();
};

R.navigation = () => {
  const sections = [...document.querySelectorAll("section")];
  document.querySelector("nav").replaceChildren(...sections.map((s) => R.el("a", { href: `#${s.id}` }, s.querySelector("h2").textContent)));
};

R.take(R.data.facts);
R.themeStart();
R.navigation();
R.summary();
R.on("facts", R.summary);
R.detailStart();
R.frontStart();
R.tableStart();
R.progressStart();
R.parallelStart();
R.matteredStart();
R.checkStart();
R.depthStart();
R.failures();
R.on("facts", R.failures);
R.on("facts", R.frontControls);
const asked = /^#trial=(\d+)$/.exec(location.hash);
if (asked) R.choose(Number(asked[1]));
if (R.live) {
  R.askLearnt();
  R.follow();
}
