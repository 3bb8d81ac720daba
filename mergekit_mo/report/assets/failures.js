// What failed, by reason.

R.failures = () => {
  const failed = R.trials.filter((t) => t.status === "failed");
  if (!failed.length) {
    R.fill("failure-list", R.el("p", { class: "hint" }, R.trials.length ? "None: every trial that has run was scored." : "No trial has run."));
    return;
  }
  const reasons = new Map();
  for (const t of failed) {
    const reason = (t.error ?? "no reason was recorded").trim().split("\n")[0];
    reasons.set(reason, [...(reasons.get(reason) ?? []), t]);
  }
  const order = [...reasons].sort((a, b) => b[1].length - a[1].length);
  R.fill("failure-list", ...order.map(([reason, trials]) =>
    R.el("details", { class: "failure note", open: order.length === 1 },
      R.el("summary", {}, R.el("b", {}, `${trials.length} × `), R.el("bdi", {}, reason)),
      R.el("p", {}, "Trials: ", ...trials.slice(0, 60).map((t) => R.el("button", { class: "plain", type: "button", onclick: () => R.choose(t.n) }, R.title(t))),
        trials.length > 60 ? ` and ${trials.length - 60} more` : ""),
      R.el("pre", { tabindex: "0" }, trials[0].error ?? reason))));
};
