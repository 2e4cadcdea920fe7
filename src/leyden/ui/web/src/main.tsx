import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/runs.css";
import "./styles/run.css";
import "./styles/charts.css";
import "./styles/views.css";
import "./styles/sweeps.css";

import { render } from "preact";
import { App } from "./app";
import { applyTheme } from "./lib/theme";

applyTheme();
const root = document.getElementById("app");
if (root) render(<App />, root);
