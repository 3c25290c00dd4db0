// Flags and manual of train.
#include "tandem/tools/run/train_options.h"

#include <fmt/format.h>

#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"

namespace tandem {
namespace {

// Returns the help of --preset, which names the presets of every model.
const std::string& preset_help() {
  static const std::string help = [] {
    std::string text = "Named sizes of the model and recipe of its training.";
    for (const std::string& name : model_names())
      text += fmt::format(" {}: {}.", name, fmt::join(preset_names(name), ", "));
    return text;
  }();
  return help;
}

// The flags of a run as a whole.
void add_run_flags(Flags& flags, TrainOptions& o) {
  flags.add("corpus", o.corpus.name_or_path, kCorpusNames).required();
  flags
      .add(
          "--level", o.level,
          "What a token is: a byte, a subword or a word [word for wikitext-103, wikitext-2, ptb and lm1b, else byte].")
      .one_of({"byte", "subword", "word"});
  flags
      .add(
          "--vocab-size", o.corpus.words.size,
          "Size of the vocabulary. Subwords: so many are learnt from the training split, of which 256 are single bytes "
          "[8000]. Words: it keeps the most frequent ones, <unk> and <eos> included, and reads every other word as <unk> "
          "[all words].")
      .positive();
  flags
      .add(
          "--min-count", o.corpus.words.min_count,
          "At level word, the vocabulary keeps the words that occur at least this often in the training split.")
      .positive()
      .show_default();
  flags.add("--model", o.model, "The model to train.").one_of(model_names()).show_default();
  flags.add("--preset", o.preset, preset_help()).show_default();
  flags
      .add(
          "--precision", o.precision,
          "Precision of matrix products and, on a GPU, of activations: f32, tf32 (on GPUs), bf16, or auto: bf16 if the "
          "device has it.")
      .one_of({"auto", "f32", "tf32", "bf16"})
      .show_default();
  add_device_flag(flags, o.device);
  flags.add_switch("--eager", o.eager,
                   "On a GPU, run each operator by itself instead of a step as one CUDA graph.");
  flags
      .add("--peak-tflops", o.run.peak_tflops,
           "Peak rate of the device in this precision, for the MFU [by the name of the GPU, if it is known].")
      .positive();
  flags.add("--seed", o.seed, "Seed of initialisation and dropout.").show_default();
  flags.add_switch(
      "--recompute", o.recompute,
      "Save memory: keep only each layer's input, and run the layer again in the backward pass.");

  flags.add("--out", o.out, "Folder of the run [a new runs/CORPUS-PRESET].");
  flags
      .add(
          "--resume", o.resume,
          "Resume the run of this folder or checkpoint; without a value, the latest run of this corpus, model and "
          "preset under runs/.")
      .optional_value();
  flags
      .add("--max-steps", o.run.max_steps,
           "Stop after this many steps in all. The schedule stays that of --steps.")
      .positive();
  flags.add("--max-time", o.max_time, "Stop after this time: 90s, 10m, 8h.");
  flags.add("--log-every", o.run.log_every, "Steps between progress lines [a fiftieth of all].").positive();
  flags
      .add(
          "--sample-bytes,--sample-tokens", o.sample_tokens,
          "Length of the sample at the end and of those of --sample-every; 0: no samples [400 bytes, 80 words or 80 subwords].")
      .non_negative();
  flags
      .add("--sample-every", o.sample_every,
           "Steps between samples of the weights on the way; 0: one sample, at the first evaluation [0].")
      .non_negative();
  flags
      .add("--keep", o.keep,
           "Keep the checkpoints of the last so many evaluations, too, as step-NUMBER.safetensors [0].")
      .non_negative();
  flags
      .add("--early-stop", o.early_stop,
           "End the run after this many evaluations in a row without a better dev loss; 0: never [0].")
      .non_negative();
  flags
      .add(
          "--tensorboard", o.tensorboard,
          "Write event files for TensorBoard, too, into this folder [that of the run]: all metrics, samples and, at "
          "evaluations, histograms of weights and gradients.")
      .optional_value();
  flags.add("--eval-every", o.eval_every, "Steps between evaluations on the dev split.").positive();
  flags
      .add(
          "--eval-bytes,--eval-tokens", o.eval_bytes,
          "Number of tokens, or of subwords bytes, of the dev split that evaluations during training score; 0: all.")
      .non_negative();
  flags.add_switch("!--no-test", o.test, "Do not score the test split at the end.");
  flags.add_switch("--describe", o.describe,
                   "Print the size of the model and the cost of a step as JSON, and train nothing.");
  flags.add_switch("--dump-config", o.dump_config,
                   "Print all settings of the run as a file for --config, and train nothing.");
  flags.add_config_file(
      "corpus",
      "Read flags from this file: `lr = 0.004`, a line each (TOML, no sections). Those of the command line win.");
  flags
      .add_switch(
          "--find-lr{200}", o.find_lr,
          "Search for a learning rate instead of training: in so many steps it rises from a thousandth of --lr "
          "to a hundred times as much. The model is not kept.")
      .positive();
  flags.add_switch(
      "--check-nan", o.check_nan,
      "Check every output and gradient; stop at the first operator that gives one that is not finite.");
  flags
      .add(
          "--max-skipped", o.max_skipped,
          "Stop after this many steps in a row whose loss or gradient is not finite. Such a step is skipped.")
      .positive()
      .show_default();
}

// Flags that replace single values of the preset.
void add_preset_flags(Flags& flags, TrainOptions& o) {
  const char* model = "Model (default: the preset's)";
  flags.add("--d", o.d, "Width of the model.").in_group(model);
  flags.add("--d-projected", o.d_projected, "Width of attention, d'.").in_group(model);
  flags.add("--layers", o.layers, "Number of layers.").in_group(model);
  flags.add("--heads", o.heads, "Number of attention heads.").in_group(model);
  flags
      .add("--attention-every", o.attention_every, "Every k-th layer has attention; 0: see --attention-last.")
      .in_group(model);
  flags.add("--attention-last", o.attention_last, "The last n layers have attention.").in_group(model);
  flags.add("--dropout", o.dropout, "Probability of dropout.").in_group(model);
  flags.add("--attention-dropout", o.attention_dropout, "Probability of dropout of attention weights.")
      .in_group(model);
  flags
      .add(
          "--set", o.set,
          "FIELD=VALUE: set any other field of the configuration, which the line `model:` prints. May be repeated.")
      .keep_all()
      .one_argument()
      .in_group(model);

  const char* recipe = "Recipe (default: the preset's)";
  flags.add("--batch-size", o.batch_size, "Number of rows of a batch.").in_group(recipe);
  flags.add("--unroll", o.unroll, "Length of a segment in tokens, and of the memory.").in_group(recipe);
  flags.add("--accumulate", o.accumulate, "Number of segments whose gradients are averaged for an update.")
      .in_group(recipe);
  flags
      .add(
          "--reset-every", o.reset_every,
          "Number of updates after which each row of the batch begins from an empty recurrent state, one row after "
          "another, as evaluations do; 0: never, as in the papers.")
      .non_negative()
      .in_group(recipe);
  flags
      .add("--eval-window", o.eval_window,
           "Length of a segment in evaluations; a query of SRU++ then sees window + 1 keys.")
      .in_group(recipe);
  flags
      .add(
          "--eval-memory", o.eval_memory,
          "Number of tokens before a segment that attention sees in evaluations; -1: as many as --eval-window.")
      .in_group(recipe);
  flags
      .add("--eval-clamp", o.eval_clamp,
           "Largest distance that relative positions distinguish in evaluations; 0: no limit.")
      .in_group(recipe);
  flags.add("--eval-batch-size", o.eval_batch_size, "Number of rows in evaluations during training.")
      .in_group(recipe);
  flags
      .add(
          "--optimizer", o.optimizer,
          "radam, adamw, lamb, nag or muon (orthogonalised momentum for matrices of layers, radam for the rest).")
      .in_group(recipe);
  flags.add("--lr", o.lr, "Learning rate at the peak of the schedule.").in_group(recipe);
  flags.add("--warmup", o.warmup, "Number of updates of linear warm-up.").in_group(recipe);
  flags.add("--steps", o.steps, "Number of updates of the whole schedule.").in_group(recipe);
  flags.add("--weight-decay", o.weight_decay, "Weight decay.").in_group(recipe);
  flags.add("--decay", o.decay, "What decays: all, or matrices (no biases, gains and the like).")
      .in_group(recipe);
  flags.add("--clip", o.clip, "Global norm that gradients are clipped to.").in_group(recipe);
}

// Flags of the teacher.
void add_teacher_flags(Flags& flags, TrainOptions& o) {
  const char* group = "Distillation (see below)";
  flags
      .add(
          "--teacher", o.teacher,
          "Learn from this model, too: a checkpoint of train, prune or quantize with the same symbols as the text. A "
          "resumed run takes the file from here if it has moved.")
      .in_group(group);
  flags
      .add("--distill-weight", o.distill_weight,
           "Part of the teacher's distribution in the loss, from 0, which trains without it, to 1 [0.5].")
      .in_group(group);
  flags
      .add("--temperature", o.temperature,
           "Temperature at which the distributions of student and teacher are compared [2].")
      .in_group(group);
  flags
      .add(
          "--imitate-steps", o.imitate_steps,
          "Number of first steps in which the layers learn what those of the teacher give, through learned maps [0].")
      .non_negative()
      .in_group(group);
}

}  // namespace

void add_train_flags(Flags& flags, TrainOptions& options) {
  flags.last_value_wins();
  add_run_flags(flags, options);
  add_corpus_flags(flags, options.corpus);
  add_verify_flag(flags);
  add_preset_flags(flags, options);
  add_teacher_flags(flags, options);
  add_rank_flags(flags, options.ranks);
}

const char* const kTrainManual =
    R"(Examples:
  {program} gcide                                      the preset laptop, on text of the package dict-gcide
  {program} enwik8 --preset=base --out=runs/base       downloaded once, checked, and kept
  {program} gcide --level=subword --vocab-size=8000     SentencePiece learns the subwords from the training split
  {program} FILE --d=256 --d-projected=64 --layers=3 --steps=2000 --lr=5e-3 --max-time=10m
  {program} FILE --resume

Losses are shown as bits per character (`bpc`) or, of words and subwords, as perplexity (`ppl`: e to
the mean loss in nats a token, <eos> included). Scores of subwords also have bits per byte (`bpb`: all
nats / ln 2 / the bytes that the scored tokens stand for), which compare with the `bpc` of bytes: dev
and test are the same bytes at both levels. For wikitext-103 and lm1b, sizes made for them come first:
--preset=base is `wt103-base`. Subwords tie the output to the embedding, unless --set says otherwise.

A run lives in a folder, runs/CORPUS-PRESET or, for other models than SRU++,
runs/CORPUS-MODEL-PRESET (with -2, -3, ... if that is taken: nothing is overwritten), or in --out:
  last.safetensors   all that the next step depends on; written at every evaluation, at the end, and on a signal
  best.safetensors   the weights with the lowest dev loss so far
  step-N.safetensors what last.safetensors was after an evaluation, for the last K of them (--keep=K)
  metrics.jsonl      per step: loss, bpc or ppl, lr, gradient norm, ms, tokens/s, memory;
                     per evaluation: dev_bpc or dev_ppl, and dev_nats, of subwords dev_bpb and
                     bytes; the same of test;
                     samples; of words, the shares of <unk>; why the run ended early
  run.json           the commands that began and resumed the run, its configuration and its cost
  run.lock           held by the one process that may write here; it names that process
`tools/report FOLDER...` draws one run or several on a page; --watch follows runs that go on.
Files are replaced as a whole and checked against digests when they are read (--verify=off reads a
damaged one), so a kill at any moment leaves the last checkpoint readable.

--resume goes on as if the run had never stopped: every later loss has the same bits, and in the end
every file is the same. Without a value it takes the run of --out or, without that, the run whose
checkpoint is the newest. --resume=RUN --out=FOLDER goes on in a folder of its own, and the old one
keeps what it has; an older checkpoint than last.safetensors needs that. A run may go on on another
device; its losses are then close, not equal.

--early-stop, --keep, --sample-every and --sample-bytes may be given anew to a resumed run; otherwise
they stay as they were. A run that stopped early goes on if it is given more patience.

--tensorboard is given anew to a resumed run. It begins an event file, with which readers drop the
points of steps that the run takes again.

--dump-config prints the settings of a run, with --resume those of an earlier one, as a file:
  {program} gcide --preset=base --lr=2e-3 --dump-config > base.toml
  {program} --config=base.toml --seed=5
A resumed run takes such a file, too, if it says what the run was begun with.

--find-lr[=STEPS] writes metrics and a page to a folder of its own (runs/...-find-lr, or --out). The
rate that it suggests lies between that where the loss fell fastest and that where it was lowest.

INT (Ctrl-C), TERM, HUP, XCPU and USR1 save a checkpoint of the current step and end the program
with exit code 3; a second Ctrl-C, a second later, ends it at once. --max-steps and --max-time also
stop between evaluations: then the weights are scored for you, in rows with "at_stop" that a resumed
run drops. If the reader of the output leaves, training goes on.

At the end the best weights are scored on the test split, in one column so that every token has all
its context, and continue its first line. Weights that are not finite are never saved: the run ends
and keeps the checkpoint before.

On a GPU steps are only enqueued, and from the fourth on each is one CUDA graph, with the same
losses as --eager, bit for bit. Losses are fetched with the progress lines, at least every 100
steps; metrics.jsonl has every step, with the mean time of those that were fetched together. With
--precision=bf16 activations and products are in bf16; weights, optimizer, sums, norms and carried
state stay in f32. The MFU of the progress line is the work that the model needs (three times the
products of its forward pass, and those of a teacher's; recomputation and masked pairs do not count)
over the peak of the GPU's data sheet.

--teacher distils a model into a smaller one (Hinton et al. 2015, arXiv 1503.02531):
  train gcide --teacher=runs/base/best.safetensors --layers=2 --distill-weight=0.7
The loss is (1 - W) cross-entropy + W T^2 KL(teacher || student), both distributions at temperature T.
The teacher runs forward only, without dropout, over the same segments with the memory of the run, and
its state is saved with the student's, so that --resume is exact; it refuses a teacher whose weights
have changed. Losses and bpc that are shown are the student's own cross-entropy, and FLOPs include the
teacher's forward pass. A student with an adaptive softmax needs a teacher with the same cutoffs, and
all its tails are then computed for all tokens, which the FLOPs do not count; a student without one
learns from any model. The teacher's file is needed for training alone, on every host of several
ranks. `prune` trains a student without its teacher.
With --imitate-steps=N the loss of the first N steps is the mean squared error between each layer's
output, through a learned map, and that of the teacher's layer at the same part of its depth, plus a
tenth of the cross-entropy, from which the output layer learns (FitNets, arXiv 1412.6550; MobileBERT,
2004.02984). The maps are kept in last.safetensors, for --resume; they are no part of the model.

Several processes, the ranks, share one run, each with its own part of the rows:
  train gcide --ranks=2                            two on this machine, started by mpirun
  mpirun -np 8 --host a:4,b:4 train enwik8 ...     one a GPU, or one a socket; srun works as well
--shards=S cuts the rows into S groups. Losses, gradient norms and last.safetensors are the same
bytes for every number of ranks from 1 to S, and --resume goes on with another number. Rank 0 reads
checkpoints and writes the run's folder; every host needs the same program and its own copy of the
corpus, and processors of one kind. The ranks share the update of the parameters, and each keeps the
optimizer's moments of its own part alone (stage 1 of ZeRO). Where another number of ranks need not
give the same bits, --reduce=fast may be faster over networks; each rank then updates everything.
More shards than ranks cost speed, above all in small models. Each rank takes a GPU of its own, and
their gradients go from GPU to GPU by NCCL if every rank finds libnccl.so.2 (or $TANDEM_NCCL, a file);
else, or with TANDEM_NCCL=off, by MPI through the host's memory, to the same bits. The line of the
ranks says which way they take, and why.

A rank that fails ends all within seconds, one that hangs after --timeout; the last checkpoint stays
whole. To save and stop, send INT, TERM or USR1 to `train --ranks`, or USR1 to mpirun: after TERM
mpirun leaves its ranks a second. The line of a step tells which share of its time was exchange.)";

}  // namespace tandem
