(function () {
  "use strict";
  var options = {displaylogo: false, displayModeBar: "hover", responsive: false, plotlyServerURL: "", showSendToCloud: false, modeBarButtonsToRemove: ["sendChartToCloud", "sendDataToCloud", "select2d", "lasso2d", "autoScale2d"], toImageButtonOptions: {format: "svg"}};
  var still = {displaylogo: false, displayModeBar: false};
  var plots = Array.from(document.querySelectorAll(".plot")), specs = {}, queue = [], busy = false;
  function each(selector, act) { document.querySelectorAll(selector).forEach(act); }
  function shut(element) { return element.closest("details:not([open])"); }
  function move(plot, step) {
    var slider = plot.layout.sliders[0], now = (slider.active || 0) + step;
    if (now < 0 || now >= slider.steps.length) { return; }
    Plotly.relayout(plot, {"sliders[0].active": now});
    Plotly.animate(plot, slider.steps[now].args[0], slider.steps[now].args[1]);
  }
  function unpack(plot) {
    if (specs[plot.id]) { return specs[plot.id]; }
    var text = document.getElementById(plot.id + "-data").textContent;
    var bytes = Uint8Array.from(atob(text.trim()), function (c) { return c.charCodeAt(0); });
    var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    specs[plot.id] = new Response(stream).text().then(function (json) { plot.spec = json; });
    return specs[plot.id];
  }
  // Where a figure has no box Plotly measures its text wrongly: nothing is drawn while it is folded.
  function draw(plot) {
    if (plot.dataset.begun || !plot.spec || shut(plot)) { return; }
    plot.dataset.begun = "yes";
    var spec = JSON.parse(plot.spec);
    delete plot.spec;
    Plotly.newPlot(plot, {data: spec.data, layout: spec.layout, frames: spec.frames || [], config: plot.closest(".front") ? still : options});
    plot.dataset.drawn = "yes";
    if (spec.layout.sliders) {
      plot.addEventListener("keydown", function (event) {
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
          event.preventDefault();
          move(plot, event.key === "ArrowRight" ? 1 : -1);
        }
      });
    }
  }
  function paint(plot) { return unpack(plot).then(function () { draw(plot); }); }
  function next() {
    var plot = queue.shift();
    busy = !!plot;
    if (plot) { (shut(plot) ? unpack(plot) : paint(plot)).then(function () { setTimeout(next, 0); }); }
  }
  function soon(found) {
    queue = queue.concat(found.filter(function (plot) { return !plot.dataset.begun; }));
    if (!busy) { next(); }
  }
  // A fold draws what it shows when it opens, what is on the screen first.
  each("details", function (fold) {
    fold.addEventListener("toggle", function () {
      if (fold.open) { soon(Array.from(fold.querySelectorAll(".plot"))); }
    });
  });
  function reveal(hash) {
    var name = hash.slice(1), target;
    try { target = document.getElementById(decodeURIComponent(name)); } catch (error) { return; }
    if (!name || !target) { return; }
    for (var fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) { fold.open = true; }
    return target;
  }
  function arrive() {
    var target = reveal(location.hash);
    if (target) { target.scrollIntoView(); }
  }
  each('a[href^="#"]', function (link) {
    link.addEventListener("click", function () { reveal(link.getAttribute("href")); });
  });
  window.addEventListener("hashchange", arrive);
  // Printing shows every group; those that were shut are shut again afterwards.
  window.addEventListener("beforeprint", function () {
    each("details.group:not([open])", function (group) { group.open = true; group.dataset.lent = "yes"; });
    plots.forEach(draw);
  });
  window.addEventListener("afterprint", function () {
    each("details.group[data-lent]", function (group) { group.open = false; delete group.dataset.lent; });
  });
  if (!window.DecompressionStream) {
    plots.forEach(function (plot) { plot.textContent = "This figure needs a browser of 2023 or later."; });
    unpack = function () { return new Promise(function () {}); };
  } else if (window.IntersectionObserver) {
    var watch = new IntersectionObserver(function (seen) {
      seen.forEach(function (entry) { if (entry.isIntersecting) { paint(entry.target); } });
    }, {rootMargin: "300px"});
    plots.forEach(function (plot) { watch.observe(plot); });
  }
  arrive();
  soon(plots);
}());
