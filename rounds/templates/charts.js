const config = {background: null, view: {stroke: null}};
for (const chart of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(chart.querySelector("script").textContent);
  const target = chart.appendChild(document.createElement("div"));
  window.vegaEmbed(target, spec, {actions: false, renderer: "svg", config});
}
