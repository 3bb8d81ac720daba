// Charts: made when they come into view, drawn again when facts, choice, theme or width change.
//
// Rule: a chart says in words what it shows (`aria-label`), and what it cannot show, in its place.

// The page's colours as the style sheet has them now.
R.colours = () => {
  const style = getComputedStyle(document.documentElement);
  const names = ["ground", "panel", "line", "text", "soft", "front", "parent", "other", "bad", "chosen", "grid"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
};

// Okabe and Ito's palette in an order that keeps neighbours apart, for each theme; and viridis,
// which grows lighter all the way, for a third goal.
R.series = (dark) =>
  dark
    ? ["#56b4e9", "#f0803c", "#35c79d", "#d98fbb", "#f0e442", "#e69f00", "#b9c2cc"]
    : ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a7a00", "#e69f00", "#333333"];
R.scale = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];
R.dark = () => document.documentElement.dataset.theme === "dark";

// Registers a chart. `build` gives either {why: text} or {option, label}; `onclick` gets the trial
// number that a drawn thing carries, and `onkey` the keys that are pressed on it.
R.chart = (id, build, { onclick, onkey, events = ["chosen"] } = {}) => {
  const box = R.byId(id);
  let chart = null;
  let seen = false;
  const draw = () => {
    if (!seen) return;
    const made = build(R.colours());
    box.classList.toggle("empty", Boolean(made.why));
    if (made.why) {
      chart?.dispose();
      chart = null;
      box.removeAttribute("tabindex");
      box.removeAttribute("role");
      box.removeAttribute("aria-label");
      box.textContent = made.why;
      return;
    }
    if (made.height) box.style.height = `${made.height}px`;
    box.style.minWidth = made.width ? `${made.width}px` : "";
    if (!chart) {
      box.textContent = "";
      chart = echarts.init(box, null, { renderer: "canvas" });
      chart.on("click", (event) => {
        const n = event.data?.n ?? event.value?.n;
        if (onclick && n !== undefined) onclick(n);
      });
    }
    chart.resize();
    chart.setOption({ ...R.common(), ...made.option }, { notMerge: true });
    box.setAttribute("aria-label", made.label);
    box.setAttribute("role", onkey ? "application" : "img");
    if (onkey) box.setAttribute("tabindex", "0");
    performance.mark(`drawn ${id}`);
  };
  if (onkey) box.addEventListener("keydown", (event) => chart && onkey(event));
  new IntersectionObserver((entries) => {
    if (seen || !entries.some((e) => e.isIntersecting)) return;
    seen = true;
    draw();
  }, { rootMargin: "200px" }).observe(box);
  addEventListener("beforeprint", () => { seen = true; draw(); });
  new ResizeObserver(() => chart && draw()).observe(box.parentElement);
  ["facts", "theme", ...events].forEach((event) => R.on(event, draw));
  return { draw, chart: () => chart };
};

R.common = () => {
  const c = R.colours();
  return {
    animation: false,
    backgroundColor: "transparent",
    textStyle: { color: c.text, fontFamily: getComputedStyle(document.body).fontFamily },
    tooltip: R.tooltip(c),
  };
};

R.tooltip = (c) => ({
  trigger: "item",
  confine: true,
  backgroundColor: c.panel,
  borderColor: c.line,
  textStyle: { color: c.text },
  formatter: (event) => {
    const n = event.data?.n ?? event.value?.n;
    return n === undefined ? "" : R.bubble(R.byNumber.get(n));
  },
});

// A trial in a few lines, as an element.
R.bubble = (t) => {
  const box = R.el("div", { class: "bubble" }, R.el("b", { dir: "auto" }, `${R.title(t)}, ${R.kind(t)}`));
  R.goals.forEach((goal, i) => {
    if (t.scores) box.append(R.el("div", {}, `${goal.name}: ${R.score(t.scores[i])}`));
  });
  return box;
};

// The style of an axis.
R.axis = (c, more) => ({
  nameTextStyle: { color: c.soft, fontSize: 13 },
  axisLine: { show: true, lineStyle: { color: c.line } },
  axisLabel: { color: c.soft, hideOverlap: true, formatter: R.number },
  splitLine: { lineStyle: { color: c.grid } },
  ...more,
});

// A value axis on the bottom or at the left, with its name.
R.across = (c, name, more) => R.axis(c, { type: "value", scale: true, name, nameLocation: "middle", nameGap: 28, ...more });
R.upward = (c, name, more) =>
  R.axis(c, { type: "value", scale: true, name, nameLocation: "end", nameGap: 14,
    nameTextStyle: { color: c.soft, fontSize: 13, align: "left", padding: [0, 0, 0, -38] }, ...more });
