"""The SRU recurrence as a PyTorch operator: a fused Triton kernel on a GPU, scan_cpu.py on a CPU.

The comparison has kernels of its own, so that PyTorch does not pay for a Python loop over time; Tandem's are in ops/
and cuda/.
TRITON_INTERPRET=1 runs the Triton kernels on the CPU, slowly, to check them where there is no GPU.
"""
import os

import torch

from scan_cpu import cpu_scan, save_for_backward

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
triton = None
if INTERPRETED or torch.cuda.is_available():  # importing it is slow, and nothing else needs it
    try:
        import triton
        import triton.language as tl
    except ImportError:
        INTERPRETED = False

if triton is not None:

    def tuned(kernel):
        """Lets a kernel take the fastest of these block shapes for each size; the interpreter takes the first."""
        shapes = [(64, 4, 2), (64, 8, 2), (128, 4, 2), (128, 8, 2)]
        configs = [triton.Config({"BLOCK": block, "AHEAD": ahead}, num_warps=warps) for block, ahead, warps in shapes]
        return triton.autotune(configs[:1] if INTERPRETED else configs, key=["T", "B", "D"])(kernel)

    # A program computes one block of columns of one batch row, in a loop over time. The loop is unrolled AHEAD times;
    # the inputs of a step are loaded AHEAD steps before they are needed, into registers of their own. `steps` is the
    # number of steps of each column: 0 past the last column.

    @triton.jit
    def load_forward(u, x, t, steps, D, stride):
        here = t < steps
        u += t * 3 * stride
        return (tl.load(u, here, 0.0).to(tl.float32), tl.load(u + D, here, 0.0).to(tl.float32),
                tl.load(u + 2 * D, here, 0.0).to(tl.float32), tl.load(x + t * stride, here, 0.0).to(tl.float32))

    @triton.jit
    def load_backward(dh, u, x, c, back, T, steps, D, stride):
        here, t = back < steps, T - 1 - back
        u += t * 3 * stride
        return (tl.load(u, here, 0.0).to(tl.float32), tl.load(u + D, here, 0.0).to(tl.float32),
                tl.load(u + 2 * D, here, 0.0).to(tl.float32), tl.load(x + t * stride, here, 0.0).to(tl.float32),
                tl.load(dh + t * stride, here, 0.0).to(tl.float32),
                tl.load(c + (t - 1) * stride, back < steps - 1, 0.0).to(tl.float32))

    @triton.jit
    def load_pair(p, D, inside):
        return tl.load(p, inside, 0.0), tl.load(p + D, inside, 0.0)

    @tuned
    @triton.jit
    def forward_kernel(H, C, C_last, U, X, V, bias, C0, mask, T, B, D, BLOCK: tl.constexpr, AHEAD: tl.constexpr):
        row, col = tl.program_id(1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = col < D
        at, stride, steps = row * D + col, (B * D).to(tl.int64), tl.where(inside, T, 0)
        v_f, v_r = load_pair(V + col, D, inside)
        b_f, b_r = load_pair(bias + col, D, inside)
        keep = tl.load(mask + at, inside, 0.0)
        c = tl.load(C0 + at, inside, 0.0)
        U += row * 3 * D + col
        X += at
        coming = ()
        for i in tl.static_range(AHEAD):
            coming = coming + (load_forward(U, X, i, steps, D, stride),)
        for first in range(0, T, AHEAD):
            for i in tl.static_range(AHEAD):
                t = first + i
                u_c, u_f, u_r, x = coming[0]
                coming = coming[1:] + (load_forward(U, X, t + AHEAD, steps, D, stride),)
                f = tl.sigmoid(u_f + v_f * c + b_f)
                r = tl.sigmoid(u_r + v_r * c + b_r) * keep
                c = tl.where(t < steps, (c - u_c) * f + u_c, c)
                tl.store(H + at + t * stride, (c - x) * r + x, t < steps)
                tl.store(C + at + t * stride, c, t < steps)
        tl.store(C_last + at, c, inside)

    @tuned
    @triton.jit
    def backward_kernel(dU, dX, dV, dbias, dH, U, X, V, bias, C0, mask, C, T, B, D,
                        BLOCK: tl.constexpr, AHEAD: tl.constexpr):
        row, col = tl.program_id(1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = col < D
        at, stride, steps = row * D + col, (B * D).to(tl.int64), tl.where(inside, T, 0)
        v_f, v_r = load_pair(V + col, D, inside)
        b_f, b_r = load_pair(bias + col, D, inside)
        keep = tl.load(mask + at, inside, 0.0)
        c0 = tl.load(C0 + at, inside, 0.0)
        U += row * 3 * D + col
        dU += row * 3 * D + col
        X += at
        dH += at
        C += at
        after = tl.load(C + (T - 1) * stride, inside, 0.0).to(tl.float32)
        zero = tl.zeros((BLOCK,), tl.float32)
        carry, dv_f, dv_r, db_f, db_r = zero, zero, zero, zero, zero
        coming = ()
        for i in tl.static_range(AHEAD):
            coming = coming + (load_backward(dH, U, X, C, i, T, steps, D, stride),)
        for first in range(0, T, AHEAD):
            for i in tl.static_range(AHEAD):
                back = first + i  # steps from the last one
                t, here = T - 1 - back, back < steps
                u_c, u_f, u_r, x, dh, before = coming[0]
                coming = coming[1:] + (load_backward(dH, U, X, C, back + AHEAD, T, steps, D, stride),)
                before = tl.where(back == steps - 1, c0, before)
                f = tl.sigmoid(u_f + v_f * before + b_f)
                r = tl.sigmoid(u_r + v_r * before + b_r)
                share = keep * r
                dc = tl.where(here, dh * share + carry, 0.0)  # dh is zero where there is no step
                du_r = dh * (after - x) * share * (1 - r)
                du_f = dc * (before - u_c) * f * (1 - f)
                carry = dc * f + du_f * v_f + du_r * v_r
                dv_f += du_f * before
                dv_r += du_r * before
                db_f += du_f
                db_r += du_r
                out = dU + t * 3 * stride
                tl.store(out, dc * (1 - f), here)
                tl.store(out + D, du_f, here)
                tl.store(out + 2 * D, du_r, here)
                tl.store(dX + at + t * stride, dh * (1 - share), here)
                after = before
        out = row * 2 * D + col
        tl.store(dV + out, dv_f, inside)
        tl.store(dV + out + D, dv_r, inside)
        tl.store(dbias + out, db_f, inside)
        tl.store(dbias + out + D, db_r, inside)


def with_triton(tensor):
    return INTERPRETED or tensor.is_cuda


def grid_for(T, B, D):
    return lambda meta: (triton.cdiv(D, meta["BLOCK"]), B)


# No gradient flows to c0 and mask, or from the states: the state is carried to the next segment without a gradient.
@torch.library.custom_op("srupp::scan", mutates_args=())
def triton_scan(u: torch.Tensor, x: torch.Tensor, v: torch.Tensor, b: torch.Tensor, c0: torch.Tensor,
                mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    h, c, c_last = torch.empty_like(x), torch.empty_like(x), torch.empty_like(c0)
    forward_kernel[grid_for(*x.shape)](h, c, c_last, u, x, v, b, c0, mask, *x.shape)
    return h, c, c_last


@triton_scan.register_fake
def _(u, x, v, b, c0, mask):
    return torch.empty_like(x), torch.empty_like(x), torch.empty_like(c0)


@torch.library.custom_op("srupp::scan_backward", mutates_args=())
def triton_scan_backward(dh: torch.Tensor, u: torch.Tensor, x: torch.Tensor, v: torch.Tensor, b: torch.Tensor,
                         c0: torch.Tensor, mask: torch.Tensor, c: torch.Tensor
                         ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    dh = dh.contiguous()
    du, dx = torch.empty_like(u), torch.empty_like(x)
    dv, db = v.new_empty(x.size(1), *v.shape), b.new_empty(x.size(1), *b.shape)  # one for each batch row, summed below
    backward_kernel[grid_for(*x.shape)](du, dx, dv, db, dh, u, x, v, b, c0, mask, c, *x.shape)
    return du, dx, dv.sum(0), db.sum(0)


@triton_scan_backward.register_fake
def _(dh, u, x, v, b, c0, mask, c):
    return torch.empty_like(u), torch.empty_like(x), torch.empty_like(v), torch.empty_like(b)


def differentiate(ctx, dh, _dc, _dc_last):
    return (*triton_scan_backward(dh, *ctx.saved_tensors), None, None)


triton_scan.register_autograd(differentiate, setup_context=save_for_backward)


def sru_scan(u, x, v, b, c0, mask):
    """Returns h and all states c, both (T, B, D) in the dtype of x, and the last state (B, D) in f32. u (T, B, 3, D) and
    x (T, B, D) have one dtype; v and b (2, D), c0 and mask (B, D) are f32. `mask` multiplies the reset gate."""
    return (triton_scan if with_triton(u) else cpu_scan)(u, x, v, b, c0, mask)


def plain_scan(u, x, v, b, c0, mask):
    """The definition of the recurrence, one step at a time, which the kernels are checked against."""
    c, h = c0, []
    for u_t, x_t in zip(u, x):
        f, r = torch.sigmoid(u_t[:, 1] + v[0] * c + b[0]), torch.sigmoid(u_t[:, 2] + v[1] * c + b[1])
        c = f * c + (1 - f) * u_t[:, 0]
        h.append(x_t + mask * r * (c - x_t))
    return torch.stack(h), c
