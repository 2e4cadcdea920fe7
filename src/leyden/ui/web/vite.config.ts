import { defineConfig, loadEnv } from "vite";

// `LEYDEN_DEV_SERVER=http://127.0.0.1:PORT npm run dev` shows a running server's data while you write.
export default defineConfig(({ mode }) => {
  const server = loadEnv(mode, ".", "LEYDEN_")["LEYDEN_DEV_SERVER"];
  return {
    build: { outDir: "../dist", emptyOutDir: true, target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
    server: server ? { proxy: { "/api": server } } : {},
  };
});
