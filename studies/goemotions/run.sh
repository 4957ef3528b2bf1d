#!/bin/sh
# The five runs of docs/evidence/study.md, their page and their tables. Needs the folder that holds goemotions/ and wikitext2/:
#   sh studies/goemotions/run.sh DATA [OUT]        an hour or two of one core a run; the same command goes on where it stopped
set -eu
data=$1 out=${2:-runs/study}
here=$(dirname "$0")
study() {
  name=$1; shift
  interplay run "$here/study.yaml" --out "$out/$name" --set "name=$name" \
    --set "data.train=$data/goemotions/train.tsv" --set "data.eval=$data/goemotions/dev.tsv" \
    --set "data.prompts=$data/goemotions/test.tsv" --set "task.retention=$data/wikitext2/valid.txt" "$@"
}
full='--set training.method=full --set training.learning_rate=5.0e-5 --set training.steps=480
  --set checkpoints.steps=[0,10,20,40,80,160,240,320,480]'
study lora-s0 --set training.seed=0 --set controls.draw_steps=all
# shellcheck disable=SC2086  (one word an option)
study full-s0 --set training.seed=0 $full
study lora-s1 --set training.seed=1
# shellcheck disable=SC2086
study full-s1 --set training.seed=1 $full
study lora-distinct --set training.seed=0 --set data.train_rows=5120   # the same steps, no row twice
interplay compare "$out/lora-s0" "$out/lora-s1" "$out/full-s0" "$out/full-s1" "$out/lora-distinct" --out "$out/compare.html" \
  --group "LoRA, 800 rows=$out/lora-s0,$out/lora-s1" --group "full, 800 rows=$out/full-s0,$out/full-s1" \
  --group "LoRA, 5120 rows once=$out/lora-distinct"
for name in lora-s0 lora-s1 full-s0 full-s1 lora-distinct; do
  interplay export "$out/$name" --out "$out/$name-tables"
done
