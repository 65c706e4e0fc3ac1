// Plays a sampler's frames through the library as wasm32, outside of any browser: node wasm.mjs MODULE FRAMES OUT
//
// The library's cryptography asks for random bytes by way of wasm-bindgen, and its imports stand in the module. Nothing here may call them.
import { readFileSync, writeFileSync } from 'node:fs';

const [module, frames, out] = process.argv.slice(2);
const compiled = new WebAssembly.Module(readFileSync(module));
const imports = {};
for (const { module: room, name, kind } of WebAssembly.Module.imports(compiled)) {
  if (kind !== 'function') throw new Error(`the module asks for ${room}.${name}, a ${kind}`);
  imports[room] ??= {};
  imports[room][name] = () => { throw new Error(`the library called ${room}.${name}: it is not pure any more`); };
}
const { take, play, give } = new WebAssembly.Instance(compiled, imports).exports;
for (const byte of readFileSync(frames)) take(byte);
const told = new Uint8Array(play());
for (let i = 0; i < told.length; i += 1) told[i] = give(i);
writeFileSync(out, told);
