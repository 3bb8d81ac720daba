// The front in any two goals, a third one as colour: parents, hold-out scores and errors with it.

R.frontState = { x: "0", y: "1", colour: "", other: true, holdout: false, errors: true, log: false, near: null };

// Which trials are drawn in the present view, by their kind.
R.frontGroups = () => {
  const { x, y } = R.frontState;
  const has = (t) => R.at(t, x) !== null && R.at(t, y) !== null;
  const groups = { other: [], bad: [], front: [], parent: R.parents.filter(has) };
  for (const t of R.done.filter(has)) groups[t.front ? "front" : t.feasible ? "other" : "bad"].push(t);
  if (!R.frontState.other) groups.other = groups.bad = [];
  if (x === "n" || y === "n") groups.parent = [];  // they are no part of the search's course
  return groups;
};

// The window around front and parents, where the rest would squeeze them into a corner.
R.frontWindow = (groups, i) => {
  const span = (trials) => {
    const values = trials.map((t) => R.at(t, i));
    return [Math.min(...values), Math.max(...values)];
  };
  const core = [...groups.front, ...groups.parent];
  if (i === "n" || core.length < 2) return null;
  const [low, high] = span(core);
  const [least, most] = span([...core, ...groups.other, ...groups.bad]);
  const margin = 0.15 * (high - low);
  const [min, max] = [R.round(low - margin, high - low, false), R.round(high + margin, high - low, true)];
  return high > low ? { min, max, squeezed: most - least > 2.5 * (high - low) } : null;
};

R.frontLog = (groups, i) =>
  R.frontState.log && i !== "n" && Object.values(groups).flat().every((t) => R.at(t, i) > 0);

// Bars of one standard error either way, for points {x, y, ex, ey}.
R.errorBars = (points, colour) => ({
  type: "custom",
  silent: true,
  z: 1,
  data: points.map((p) => ({ value: [p.x, p.y, p.ex, p.ey] })),
  clip: true,
  renderItem: (_, api) => {
    const [x, y, ex, ey] = [0, 1, 2, 3].map((k) => api.value(k));
    const stick = (from, to) => {
      const [a, b] = [api.coord(from), api.coord(to)];
      return { type: "line", shape: { x1: a[0], y1: a[1], x2: b[0], y2: b[1] }, style: { stroke: colour, lineWidth: 1.2, opacity: 0.65 } };
    };
    const children = [];
    if (ex > 0) children.push(stick([x - ex, y], [x + ex, y]));
    if (ey > 0) children.push(stick([x, y - ey], [x, y + ey]));
    return { type: "group", children };
  },
});

R.bars = (trials, x, y, split, colour) =>
  R.errorBars(
    trials.map((t) => ({
      x: R.at(t, x, split), y: R.at(t, y, split),
      ex: x === "n" ? 0 : t[split][x][1] ?? 0, ey: y === "n" ? 0 : t[split][y][1] ?? 0,
    })),
    colour,
  );

// Lines from search scores to hold-out scores, for points {from, to}.
R.links = (pairs, colour) => ({
  type: "custom", silent: true, z: 1, clip: true,
  data: pairs.map((p) => ({ value: [...p.from, ...p.to] })),
  renderItem: (_, api) => {
    const [a, b] = [api.coord([api.value(0), api.value(1)]), api.coord([api.value(2), api.value(3)])];
    return { type: "line", shape: { x1: a[0], y1: a[1], x2: b[0], y2: b[1] }, style: { stroke: colour, lineWidth: 1, lineDash: [3, 3], opacity: 0.7 } };
  },
});

R.frontOption = (c) => {
  const { x, y, colour, holdout, errors } = R.frontState;
  const groups = R.frontGroups();
  const points = (trials, split = "scores") =>
    trials.map((t) => ({ n: t.n, value: [R.at(t, x, split), R.at(t, y, split), colour === "" ? 0 : R.at(t, colour, split)] }));
  const marks = (trials, look) => ({ type: "scatter", data: points(trials), cursor: "pointer", ...look });
  const named = groups.parent.length <= 12;
  const series = [
    marks(groups.other, { symbolSize: 7, z: 2, itemStyle: { color: c.other, opacity: colour === "" ? 0.35 : 0.55 } }),
    marks(groups.front, { symbolSize: 12, z: 4, itemStyle: { color: c.front, borderColor: colour === "" ? c.ground : c.soft, borderWidth: 1 } }),
    marks(groups.bad, { symbol: "triangle", symbolSize: 8, z: 2, itemStyle: { color: "transparent", borderColor: c.bad, opacity: 0.6 } }),
    marks(groups.parent, {
      symbol: "diamond", symbolSize: 15, z: 5,
      itemStyle: { color: c.parent, borderColor: c.ground, borderWidth: 1 },
      label: { show: named, position: "top", color: c.text, fontSize: 12.5, textBorderColor: c.ground, textBorderWidth: 3,
        formatter: (p) => R.byNumber.get(p.data.n).label, width: 150, overflow: "truncate" },
      labelLayout: { hideOverlap: true, moveOverlap: "shiftY" },
    }),
  ];
  if (errors) series.push(R.bars(groups.front, x, y, "scores", c.front), R.bars(groups.parent, x, y, "scores", c.parent));
  const held = [...groups.front, ...groups.parent].filter((t) => R.at(t, x, "holdout") !== null && R.at(t, y, "holdout") !== null);
  if (holdout && held.length) {
    const own = (role) => held.filter((t) => t.role === role);
    for (const [role, ink] of [["candidate", c.front], ["reference", c.parent]]) {
      series.push({
        type: "scatter", z: 3, symbol: role === "candidate" ? "circle" : "diamond", symbolSize: role === "candidate" ? 10 : 13,
        itemStyle: { color: c.ground, borderColor: ink, borderWidth: 1.8 }, data: points(own(role), "holdout"), cursor: "pointer",
      });
      series.push(R.links(own(role).map((t) => ({ from: [R.at(t, x), R.at(t, y)], to: [R.at(t, x, "holdout"), R.at(t, y, "holdout")] })), ink));
      if (errors) series.push(R.bars(own(role), x, y, "holdout", ink));
    }
  }
  const chosen = R.byNumber.get(R.chosen);
  if (chosen?.scores && R.at(chosen, x) !== null) {
    series.push(marks([chosen], { symbol: "circle", symbolSize: 24, z: 6, silent: true, itemStyle: { color: "transparent", borderColor: c.chosen, borderWidth: 3.5 } }));
  }
  series.push(R.thresholds(c));
  return { groups, series };
};

// The thresholds of the goals in view, as lines.
R.thresholds = (c) => {
  const lines = [["xAxis", R.frontState.x], ["yAxis", R.frontState.y]]
    .filter(([, i]) => i !== "n" && R.goals[i].threshold !== null)
    .map(([axis, i]) => ({ [axis]: R.goals[i].threshold }));
  return {
    type: "scatter", data: [], silent: true,
    markLine: { silent: true, symbol: "none", data: lines, lineStyle: { color: c.bad, type: "dashed" },
      label: { formatter: "threshold", color: c.bad, position: "insideEndTop" } },
  };
};

R.frontBuild = (c) => {
  const { x, y, colour } = R.frontState;
  const { groups, series } = R.frontOption(c);
  const all = Object.values(groups).flat();
  if (!all.length) return { why: R.nothingScored() };
  const windows = [R.frontWindow(groups, x), R.frontWindow(groups, y)];
  const squeezed = windows.some((w) => w?.squeezed);
  R.frontNear(squeezed);
  const near = R.frontState.near ?? squeezed;
  const axis = (i, window) => ({
    ...(R.frontLog(groups, i) ? { type: "log" } : { boundaryGap: ["6%", "6%"] }),
    ...(near && squeezed && window && !R.frontLog(groups, i) ? { min: window.min, max: window.max } : {}),
  });
  const option = {
    grid: { left: 12, right: colour === "" ? 28 : 92, top: 34, bottom: 34, containLabel: true },
    xAxis: R.across(c, R.axisName(x, false), axis(x, windows[0])),
    yAxis: R.upward(c, R.axisName(y, true), axis(y, windows[1])),
    series,
  };
  if (colour !== "") {
    const values = all.map((t) => R.at(t, colour)).filter((v) => v !== null);
    option.visualMap = {
      type: "continuous", dimension: 2, seriesIndex: [0, 1], right: 0, top: "middle", itemHeight: 220, itemWidth: 14,
      min: Math.min(...values), max: Math.max(...values), precision: 4, calculable: false,
      inRange: { color: R.scale }, textStyle: { color: c.soft },
      text: [R.number(Math.max(...values)), R.number(Math.min(...values))],
    };
  }
  const names = [x, y, ...(colour === "" ? [] : [colour])].map((i) => (i === "n" ? "trial number" : R.goals[i].name));
  const label = `Scatter chart of ${names.join(", ")}: ${R.count(groups.front.length, "merge")} on the front, ` +
    `${R.count(groups.parent.length, "parent")}, ${R.count(groups.other.length + groups.bad.length, "other merge")}. ` +
    "Arrow keys choose a trial, Enter goes to its details.";
  return { option, label };
};

R.nothingScored = () => {
  if (R.done.length || R.parents.length) return "No trial has scores on these goals.";
  const failed = R.trials.filter((t) => t.status === "failed").length;
  if (failed) return `Nothing to draw: ${R.count(failed, "trial")} failed and none was scored. See Failures below.`;
  return "Nothing to draw yet: no trial has been scored.";
};

// Keys: left and right go along the first goal, up and down along the second, over the front; with
// Shift over every trial that is drawn. Enter goes to the details.
R.frontKey = (event) => {
  if (event.key === "Enter") {
    if (R.chosen === null) R.frontStep(0, 1, false);
    R.byId("detail").focus();
  } else if (event.key === "ArrowRight") R.frontStep(0, 1, event.shiftKey);
  else if (event.key === "ArrowLeft") R.frontStep(0, -1, event.shiftKey);
  else if (event.key === "ArrowUp") R.frontStep(1, 1, event.shiftKey);
  else if (event.key === "ArrowDown") R.frontStep(1, -1, event.shiftKey);
  else return;
  event.preventDefault();
};

R.frontStep = (which, by, everything) => {
  const groups = R.frontGroups();
  const among = everything || !groups.front.length ? Object.values(groups).flat() : groups.front;
  const goal = which === 0 ? R.frontState.x : R.frontState.y;
  const order = [...among].sort((a, b) => R.at(a, goal) - R.at(b, goal) || a.n - b.n);
  if (!order.length) return;
  const here = order.findIndex((t) => t.n === R.chosen);
  const next = here < 0 ? (by > 0 ? 0 : order.length - 1) : Math.min(Math.max(here + by, 0), order.length - 1);
  R.choose(order[next].n);
};

R.frontControls = () => {
  const state = R.frontState;
  const options = [...R.goals.map((g, i) => [String(i), g.name]), ["n", "trial number"]];
  if (R.goals.length === 1) [state.x, state.y] = state.x === "0" && state.y === "1" ? ["n", "0"] : [state.x, state.y];
  const set = (key) => (value) => { state[key] = value; R.frontView.draw(); };
  const swatch = (ink, shape) => R.el("span", { class: "swatch", style: `background:var(--${ink});${shape}`, "aria-hidden": true });
  const round = "border-radius:50%";
  const split = R.trials.some((t) => t.holdout);
  if (R.frontKnown === split) return;  // nothing new: an open list stays open
  R.frontKnown = split;
  R.fill(
    "front-controls",
    R.picker("across", options, state.x, set("x")),
    R.picker("up", options, state.y, set("y")),
    R.picker("colour", [["", "none"], ...options.slice(0, -1)], state.colour, set("colour")),
    R.tick("other merges", state.other, set("other"), swatch("other", round)),
    R.tick("standard errors", state.errors, set("errors")),
    split ? R.tick("hold-out (hollow)", state.holdout, set("holdout")) : null,
    R.tick("logarithmic", state.log, set("log")),
    R.el("label", { class: "gone", id: "front-near" }),
    R.el("label", {}, swatch("front", round), "front"),
    R.el("label", {}, swatch("parent", "transform:rotate(45deg) scale(.8)"), "parents"),
  );
};

// The tick that shows everything where the view is narrowed.
R.frontNear = (squeezed) => {
  const label = R.byId("front-near");
  if (!label) return;
  label.classList.toggle("gone", !squeezed);
  if (squeezed && !label.firstChild) {
    const made = R.tick("near front and parents only", R.frontState.near ?? true, (on) => { R.frontState.near = on; R.frontView.draw(); });
    label.replaceChildren(...made.childNodes);
  }
};

R.frontStart = () => {
  R.frontControls();
  R.frontView = R.chart("front-chart", R.frontBuild, { onclick: R.choose, onkey: R.frontKey });
  R.byId("front-hint").textContent =
    "Click a point, or use the arrow keys (with Shift: all merges) and Enter, for its scores and its YAML. Bars are one " +
    "standard error either way, over items. Parents are scored as they are and belong to no front. Triangles lie beyond a threshold.";
};
