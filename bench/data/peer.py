"""The same work with the Rust library on one thread. usage: peer.py TEXT TOKENIZER OUT"""
import json, resource, sys, time
from array import array
import tokenizers

text, vocabulary, out = sys.argv[1:4]
begin = time.perf_counter()
tokenizer = tokenizers.Tokenizer.from_file(vocabulary + "/tokenizer.json")
end_of_text = tokenizer.token_to_id("<|endoftext|>")
tokens = 0
with open(text, encoding="utf-8") as lines, open(out, "wb") as shard:
    batch = []

    def flush():
        global tokens
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            ids = array("H", encoding.ids)
            ids.append(end_of_text)
            tokens += len(ids)
            ids.tofile(shard)
        batch.clear()

    for line in lines:
        batch.append(json.loads(line)["text"])
        if len(batch) == 256:
            flush()
    flush()
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": time.perf_counter() - begin, "cpuSeconds": usage.ru_utime + usage.ru_stime, "tokens": tokens,
    "peakMb": usage.ru_maxrss / 1e3, "version": tokenizers.__version__,
}))
