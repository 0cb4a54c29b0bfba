// The engine's figures beside those of an engine made by others: node-llama-cpp, which batches sequences over a prebuilt
// llama.cpp. Same model file, one thread, the same prompts as `engine.py`; what a sequence read before is kept, and the
// four texts of a caption go to one sequence, so a caption is read once.
//
//     npm install node-llama-cpp@3
//     node engine_node.mjs MERGED.gguf cc3m_validation.tsv 48 32      // captions, sequences
//
// Prints one JSON document.

import fs from "node:fs";
import {getLlama, LlamaCompletion} from "node-llama-cpp";

const [modelPath, data, captionsWanted, sequences] = process.argv.slice(2);
const words = ["vivid", "short", "photo", "free"];
const rows = fs.readFileSync(data, "utf8").split("\n").slice(1).map((line) => line.split("\t")[0]);
const captions = [...new Set(rows)].slice(0, Number(captionsWanted));
const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: "error"});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({
    sequences: Number(sequences), contextSize: 256, batchSize: 512, threads: 1, flashAttention: true
});
const special = (text) => model.tokenize(text, true);
const queue = captions.slice();
let texts = 0, made = 0;

async function work() {
    const sequence = context.getSequence();
    const completion = new LlamaCompletion({contextSequence: sequence});
    for (let caption; (caption = queue.shift()) !== undefined;) {
        for (const word of words) {
            const prompt = [
                ...special("<|im_start|>"), ...model.tokenize(" " + caption), ...special("<|im_end|>"), ...model.tokenize(" " + word)
            ];
            const text = await completion.generateCompletion(prompt, {maxTokens: 64, temperature: 0.4, topP: 0.95, topK: 0, minP: 0});
            texts += 1;
            made += model.tokenize(text).length + 1;
        }
    }
}

const before = process.cpuUsage();
await Promise.all(Array.from({length: Number(sequences)}, work));
const used = process.cpuUsage(before), seconds = (used.user + used.system) / 1e6;
console.log(JSON.stringify({way: "node-llama-cpp", sequences: Number(sequences), texts, made, cpu_s: seconds, texts_per_cpu_s: texts / seconds}));
process.exit(0);
