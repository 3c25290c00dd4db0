"""Which part of a training step of SRU++ each kernel is, so that it can be set beside what was predicted of that part."""
import re

# Parts by names of Tandem's kernels: what the name must contain. The first that fits is taken. A profiler prints anonymous
# namespaces and template arguments in several ways, so only identifiers are looked for.
OWN = [
    ("attention: mask and softmax, forward", ["AttentionForward"]),
    ("attention: mask and softmax, backward", ["AttentionBackward"]),
    ("scan, forward", ["forward_kernel", "ScanArgs"]),
    ("scan, backward", ["backward_kernel", "ScanArgs"]),
    ("scan, backward", ["sum_over_batch_kernel"]),
    ("layer norm, forward", ["forward_kernel", "Source"]),
    ("layer norm, backward", ["backward_kernel", "Source"]),
    ("layer norm, backward", ["add_chunks_kernel"]),
    ("optimizer: norm", ["square_sum_kernel"]),
    ("optimizer: update", ["update_kernel"]),
    ("optimizer: decision", ["decide_kernel"]),
    ("state copies", ["copy_if_kernel"]),
    ("dropout of both ends", ["dropout_kernel"]),
    ("embedding, forward", ["gather_kernel"]),
    ("embedding, backward", ["add_runs_kernel"]),
    ("embedding, backward", ["add_edges_kernel"]),
    ("gradients added", ["map_kernel"]),
    ("gradients added", ["repeated_kernel"]),
]
REST = "sort, loss, small ones"
UNKNOWN_PRODUCTS = "products, not told apart"

PRODUCT = re.compile(r"nvjet|gemm|cutlass|xmma|cublas", re.IGNORECASE)
SECOND_PART = re.compile(r"split_?k.*reduce|reduce.*split_?k|splitKreduce|scal_kernel|memset", re.IGNORECASE)


def is_own(name):
    return "tandem" in name


def own_part(name):
    """Returns the part of a step that one of Tandem's kernels belongs to."""
    for part, words in OWN:
        if all(word in name for word in words):
            return part
    return REST


def product_part(text, sizes):
    """Returns the part that a product belongs to, from its text in the record of bench: "4096x768x3072 nt 1"."""
    shape, layout, _ = text.split()
    m, n, k = (int(size) for size in shape.split("x"))
    T, B, d, p, V = (sizes[name] for name in ("unroll", "batch_size", "d", "d_projected", "vocabulary"))
    rows = T * B
    padded = -(-V // 8) * 8  # the width of the logits within their products, unless the rows are few (cuda/linear.cu)
    parts = {
        (rows, p, d, "nt"): "W_q, forward (memory and x)",
        (2 * rows, 2 * p, p, "nt"): "W_kv, forward",
        (rows, 3 * d, p, "nt"): "W_o, forward",
        (rows, p, 3 * d, "nn"): "W_o, gradient of the input",
        (3 * d, p, rows, "tn"): "W_o, gradient of the weight",
        (2 * rows, p, 2 * p, "nn"): "W_kv, gradient of the input",
        (2 * p, p, 2 * rows, "tn"): "W_kv, gradient of the weight",
        (rows, d, p, "nn"): "W_q, gradient of the input",
        (p, d, rows, "tn"): "W_q, gradient of the weight (memory and x)",
        (rows, V, d, "nt"): "logits",
        (rows, padded, d, "nt"): "logits",
        (rows, d, V, "nn"): "logits, gradients",
        (rows, d, padded, "nn"): "logits, gradients",
        (V, d, rows, "tn"): "logits, gradients",
    }
    if (m, n, k, layout) in parts:
        return parts[m, n, k, layout]
    head = p // sizes.get("heads", 1)
    if k == head and layout == "nt":
        return "attention: QK', again in backward, and dY V'"
    if n == head and layout == "nn":
        return "attention: PV and dQ"
    if n == head and layout == "tn":
        return "attention: dK and dV"
    return "other products"


def parts_of_step(kernels, products, sizes):
    """Returns the parts of a step with their launches, microseconds and bytes, and what had to be guessed.

    `kernels` are those of one step in order, `products` the texts of its products in order. Every product is one kernel,
    perhaps followed by one that adds the pieces of a split sum. If their number is another, products are not told apart.
    """
    mains = [k for k in kernels if not is_own(k["name"]) and PRODUCT.search(k["name"]) and not SECOND_PART.search(k["name"])]
    matched = len(mains) == len(products)
    note = "" if matched else "%d kernels of products for %d products, so they are not told apart" % (
        len(mains), len(products))
    named = {id(k): product_part(text, sizes) for k, text in zip(mains, products)} if matched else {}
    parts, before = {}, UNKNOWN_PRODUCTS
    for kernel in kernels:
        if is_own(kernel["name"]):
            part = own_part(kernel["name"])
        elif PRODUCT.search(kernel["name"]) or SECOND_PART.search(kernel["name"]):
            part = before = named.get(id(kernel), before if matched else UNKNOWN_PRODUCTS)
        else:
            part = "kernels of others"
        row = parts.setdefault(part, {"launches": 0, "us": 0.0, "bytes": 0.0, "names": {}})
        row["launches"] += 1
        row["us"] += kernel["us"] or 0
        row["bytes"] += kernel["bytes"] or 0
        row["names"][kernel["name"]] = row["names"].get(kernel["name"], 0) + 1
    return parts, note
