// The manuals of bench and of its subcommands.
#include "tools/bench/manual.h"

namespace tandem {

const char* const kBenchManual =
    R"(Examples:
  bench peak                                        peaks of products, copies and reads on this device
  bench all                                         every operator; or some: bench sru_scan attention
  bench step --preset=laptop                        a training step, in f32 and bf16
  bench step all --passes=5 --json=before.json      everything, with a record of it
  bench --baseline=before.json                      the same again: what got better or worse

Programs of their own, with their own --help:
  bench vs-pytorch    Tandem and PyTorch in turn, on the CPU
  bench length        the cost of a step as segments and memory grow
  bench exchange      what it costs ranks to add their gradients

Measure on a machine that does nothing else (`uptime`, `nvidia-smi`): programs that share cores share
their time. How fast a step is beside others, --neighbours=N shows. The first lines are the device, the
sizes and the measured peaks of products. Rates of products are in GFLOP/s on a CPU and in TFLOP/s
on a GPU.

OPERATORS are checked before they are timed: results and gradients, through a random projection,
against the same operator in f64 on the same values and device, relative to the largest value. An
error beyond 1e-4 (tf32: 5e-3, bf16: 2e-2) ends the program with exit code 1. Then --rounds rounds
of forward and backward passes are timed, on a tape as in training. A case has two lines:

  OPERATOR PRECISION CASE                  forward   MEDIAN (MIN .. MAX)  RATE   SHARE % of PRECISION products
    checked, error E; takes M MiB          backward  MEDIAN (MIN .. MAX)  RATE   SHARE % of a copy of N MiB at R GB/s

Times are milliseconds; M is the peak memory of both passes, results and gradients included, inputs
not. Operators that multiply matrices are compared with the measured peak of products. The
operations counted are those of the definition: attention counts neither masked pairs nor the scores
that its backward pass computes again. All other operators are bound by memory: GB/s count each
input and output once, and are compared with a plain copy that moves as many bytes (N MiB, half
read, half written), measured in between. Small copies stay in cache, as small operands do. The
optimizer has no backward pass. `bench all` also names the operators that have no benchmark.

On a GPU the times are the device's: the passes of a round are recorded as one CUDA graph, so
launches by the host do not count. The backward time is what a backward pass adds to the forward
time. With TANDEM_ALLOCATOR=direct, and for adaptive_softmax, which waits for the device, there are
no graphs, and launches count.

PEAK shows the shapes behind the peak of products (the best round of each), and copies from
cache-sized to 256 MiB (on a GPU 1 GiB). `read`, on a CPU, is the rate of summing 256 MiB by all
threads, each reading eight streams with prefetches: the bound of generation, which reads every
weight once a token.

STEP trains the preset's model on random bytes: three steps to warm up, then --steps. On a CPU each
is followed by a replay of its products and a separate update of the optimizer, so that disturbances
fall on all three alike. On a GPU the steps are enqueued four at a time, as in training; first
operator by operator, then each as one CUDA graph. It reports:
  step P: MS ms, N tokens/s   median (minimum .. maximum); on a GPU of graphs, unless a line
                              `no CUDA graph:` says why there is none
  operator by operator, MFU   on a GPU: the same without graphs; and the operations that the model
                              needs (three times those of a forward pass) as a share of the data
                              sheet's peak and of the measured one
  the split                   operators, forward and backward; the preset's optimizer, timed apart; the
                              rest (batches, state). On a GPU it is of three steps that wait after
                              each operator, so it adds up to more than a step
  the floor                   the step's products at the measured peak; on a CPU also the same
                              products back to back
  memory                      peak of tensors, memory held by the allocator, resident memory
  allocations from the system in the timed steps; unless there are none, the exit code is 1

On a GPU, --waves and --scores try ways of attention: all targets are run with each combination, and
its cases and steps carry it in their names (`2 waves, bf16 scores`). Example:
  bench attention step --precision=bf16 --waves=1,2,4 --scores=f32,bf16
Scores in bf16 halve what attention reads between its products, and round each score once more.

With --shards=S the step is that of a run of S shards on one rank: what it costs more than with one
shard is the price of being able to go on on other numbers of ranks.

--json gives one JSON object with the device, the sizes, the peaks, every case in `operators` and
every step in `steps`, in ms, bytes, operations and shares. `times_floor` has the ratios that can be
compared between runs: a time over that of its floor in the same round. The floor of an operator is
a product of 1024 x 1024 x 1024 in its precision, scaled to its operations, or a copy of as many
bytes; that of a step and its parts is that product scaled to the step's operations (on a GPU the
measured peak).

--baseline=FILE compares with such a record. What the command line leaves open is as in the record;
another device or other sizes are refused. The speed of the machine is not compared, but times in
units of their floors are, and bytes and operations. A ratio has moved if its median has by more
than --tolerance and lies outside the range of the earlier run, as the earlier median does outside
the range of this run; bytes and operations have moved if they differ. Each is a line with `better`
or `worse`, the largest change first; `new` and `missing` are quantities that only one run has. If
something is worse by more than the tolerance, the exit code is 1. Take records with --passes=5, so
that their ranges include the noise of the machine. What it cannot see: changes smaller than the
noise, and a slowdown of all products alike, which slows the floors too; the peaks in the first line
of the comparison show that one.)";

const char* const kVersusManual =
    R"(Examples:
  bench vs-pytorch --with=pytorch --preset=txl-matched --batch-size=8 --precision=f32 --form=both --json=all.json
  bench vs-pytorch --with=tandem      Tandem against itself, which shows the noise of the ratios on this machine

Both sides start from the same weights (with attention scaled up from 0, and larger logits, so that
losses depend on every part of the model; no dropout) and read the same random bytes, in the same
batches, with the same memory and optimizer. Every round starts a new process of either side for
every task, Tandem first; an untimed round comes first. In each round, the losses of the first two
training steps, the bits per character of the evaluation and the loss of the decoder must agree to
1e-4 (bf16: 1e-2); else the program prints both numbers and ends with exit code 1.

The table has median (minimum .. maximum) of both sides, and of Tandem's ratio to the other in the
same round:
  tokens/s of training
  peak resident memory of the process that trained
  seconds from its start to the end of its first step
  bytes/s of greedy generation in 1 and 32 rows, after a prompt as long as the memory
  tokens/s of evaluation

PyTorch's --form=strong first tries its options (attention, torch.compile) for each task and takes
the fastest; authors trains with a Python loop over time. Five rounds of `laptop-published` take minutes;
of `txl-matched` at batch 8 far longer, so choose --tasks and --precision. With --with=tandem
--tasks=train --recompute the ratios are what recomputation costs and saves.)";

const char* const kLengthManual =
    R"(Example:
  bench length --json=length.json && tools/bench/plot_length length.json length.svg

Runs forward and backward passes of the preset's model in two series: segment and memory grow
together from --min to --max, doubling; and the memory alone grows beside segments of --unroll. All
lengths are run in turn in each round, with the memory full. A row has the median step, attention's
part of it, all else, and the memory of a step besides parameters, gradients and carried state; then
three columns that should not grow:
  attention's time over the pairs of query and key that the causal mask leaves,
    T M + T (T + 1) / 2 in each row of the batch;
  the time of all else over T + M;
  the memory over T + M.
The line below says by how much each exceeds that of a shorter length at most. Operators that take 1
% of the longest step or more and grow by more than a tenth are named.)";

const char* const kExchangeManual =
    R"(Examples:
  bench exchange --ranks=2
  mpirun -np 4 --host a:2,b:2 bench exchange --megabytes=5,170,430
  mpirun -np 8 bench exchange --device=cuda         one GPU a rank; TANDEM_NCCL=off for the way over the host

Each rank has a gradient of its own, of one shard. A row is the time from the moment that all have
it to the moment that the slowest rank has the sum: packing, exchange, addition and unpacking.
  gradient, sent    its size in f32, and the bytes that each rank sends: 2 (N - 1) / N times as many
  exact             in the tree of shards: the same bits for any number of ranks
  fast              by MPI_Allreduce or ncclAllReduce, as with train --reduce=fast
The first sum of each size is checked and not timed.)";

}  // namespace tandem
