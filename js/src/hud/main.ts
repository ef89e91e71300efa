import type { Api } from "../loader/start";
import { Panel } from "./panel";

const { p2pcdn } = window as { p2pcdn?: Api };
const show = (): void => {
  if (p2pcdn) new Panel(p2pcdn).show();
};
if (document.readyState === "loading") addEventListener("DOMContentLoaded", show);
else show();
