// The trials as a table: the front beside the parents, everything, or what failed.

R.tableState = { which: "front", by: null, up: true };

R.tableRows = () => {
  const { which, by, up } = R.tableState;
  const rows = which === "front" ? [...R.front] : which === "failed" ? R.trials.filter((t) => t.status === "failed")
    : R.candidates.slice();
  if (by) {
    const key = (t) => by.value(t) ?? -Infinity;
    rows.sort((a, b) => (up ? 1 : -1) * (typeof key(a) === "string" ? key(a).localeCompare(key(b)) : key(a) - key(b)) || a.n - b.n);
  } else if (which === "front" && R.goals.length) {
    rows.sort((a, b) => (R.goals[0].maximize ? -1 : 1) * (R.at(a, 0) - R.at(b, 0)));
  }
  return which === "failed" ? rows : [...R.trials.filter((t) => t.role === "reference"), ...rows];
};

R.tableColumns = () => {
  const held = R.trials.some((t) => t.holdout);
  const columns = [{ name: "trial", text: (t) => (t.role === "reference" ? t.label : String(t.n)), value: (t) => t.n, left: true }];
  R.goals.forEach((goal, i) => {
    const arrow = goal.maximize ? "↑" : "↓";
    columns.push({ name: `${goal.name} ${arrow}`, text: (t) => R.score(t.scores?.[i]), value: (t) => R.at(t, i) });
    if (held) columns.push({ name: "hold-out", soft: true, text: (t) => R.score(t.holdout?.[i]), value: (t) => R.at(t, i, "holdout") });
  });
  columns.push({ name: "state", text: (t) => R.kind(t), value: (t) => R.kind(t), left: true });
  columns.push({ name: "from", text: (t) => (t.role === "reference" ? "" : t.origin), value: (t) => t.origin, left: true });
  columns.push({ name: "time", text: (t) => (t.seconds === null ? "–" : R.duration(t.seconds)), value: (t) => t.seconds });
  return columns;
};

R.tableDraw = () => {
  const columns = R.tableColumns();
  const by = R.tableState.by?.name;
  const head = columns.map((column, k) => {
    const now = by === k ? (R.tableState.up ? "ascending" : "descending") : null;
    const sort = () => {
      R.tableState.up = now ? !R.tableState.up : true;
      R.tableState.by = { name: k, value: column.value };
      R.tableDraw();
    };
    const arrow = now ? (R.tableState.up ? " ▴" : " ▾") : "";
    return R.el("th", { scope: "col", class: column.left ? "text" : null, "aria-sort": now },
      R.el("button", { type: "button", onclick: sort }, R.el("bdi", {}, column.name), arrow));
  });
  const rows = R.tableRows().map((t) => {
    const cells = columns.map((column, k) => {
      const text = column.text(t);
      const inner = k === 0 ? R.el("button", { class: "plain", type: "button", onclick: () => R.choose(t.n) }, R.el("bdi", {}, text))
        : R.el("bdi", { class: column.soft ? "soft" : null }, text);
      return R.el("td", { class: column.left ? "text" : null }, inner);
    });
    return R.el("tr", { class: [t.role, t.n === R.chosen ? "chosen" : ""].join(" ").trim(), "data-n": t.n }, ...cells);
  });
  R.fill("trials", R.el("thead", {}, R.el("tr", {}, ...head)), R.el("tbody", {}, ...rows));
};

R.tableMark = () => {
  for (const row of R.byId("trials").querySelectorAll("tbody tr")) row.classList.toggle("chosen", Number(row.dataset.n) === R.chosen);
};

R.tableStart = () => {
  const controls = () => {
    const failed = R.trials.filter((t) => t.status === "failed").length;
    const options = [["front", `the front (${R.front.length})`], ["all", `every merge (${R.candidates.length})`]];
    if (failed) options.push(["failed", `failed (${failed})`]);
    R.fill("table-controls", R.picker("show", options, R.tableState.which, (which) => { R.tableState.which = which; R.tableDraw(); }));
  };
  R.on("facts", controls);
  R.on("facts", R.tableDraw);
  R.on("chosen", R.tableMark);
  controls();
  R.tableDraw();
};
