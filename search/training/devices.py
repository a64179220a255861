"""What a process may use of its machine; the one place of calls that only one backend knows.

TensorFlow and JAX are set up before their first operation, and the frozen trunk is compiled with its batch norms folded
and its weights as constants. On CPU cores TensorFlow computes in bfloat16 where that is measured to be faster.
"""

import functools
import gc
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.delivery.framework import import_keras

# Operations that stay in float32: in bfloat16 oneDNN takes up to fourteen times as long for them (a depthwise
# convolution with stride 2, its gradient by the inputs).
SLOW_IN_BFLOAT16 = ("DepthwiseConv2dNativeBackpropInput", "DepthwiseConv2dNativeBackpropFilter")
PAYS = 0.8  # of float32's time, from which on bfloat16 is taken: the casts around it cost something too
CONTEXT = 600 * 2**20  # bytes of a GPU that the driver and the libraries hold for each process

Array = NDArray[Any]
Inference = Callable[[Array], list[Array]]


def faster_in_bfloat16() -> bool:
    """Whether this CPU takes clearly less time for TensorFlow's convolutions in bfloat16 than in float32.

    Measured, because having the instructions says little: cores with AMX take a fraction of the time, some of those
    with AVX-512's alone nearly twice as long. It takes a tenth of a second.
    """
    import tensorflow as tf

    pictures, kernel = tf.ones((8, 16, 16, 256)), tf.ones((1, 1, 256, 256))
    seconds = dict.fromkeys((tf.float32, tf.bfloat16), float("inf"))
    operands = {kind: (tf.cast(pictures, kind), tf.cast(kernel, kind)) for kind in seconds}
    # In turns, and the best of several: other work on the machine disturbs both.
    for _ in range(6):
        for kind in seconds:
            began = time.perf_counter()
            tf.nn.conv2d(*operands[kind], 1, "SAME")
            seconds[kind] = min(seconds[kind], time.perf_counter() - began)
    return seconds[tf.bfloat16] < PAYS * seconds[tf.float32]


@functools.cache
def gpu_memory() -> int:
    """Bytes of the first GPU that this process may use, 0 where there is none or Nvidia's tool is missing."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", visible or "none"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        return int(found.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0


def share_limit(total: int, share: float) -> int:
    """Bytes that a process may allocate on a GPU of `total` bytes when it is given `share` of it.

    What the driver keeps for each process is outside of what the frameworks count, and comes off the share.
    """
    return max(0, int(total * share) - CONTEXT)


def proposed_share(peak: int, total: int) -> float:
    """The smallest share 1/n of a GPU, n up to 16, that leaves a trial of `peak` bytes a quarter of them to spare."""
    fitting = [count for count in range(1, 17) if share_limit(total, 1 / count) >= 1.25 * peak]
    return round(1 / max(fitting, default=1), 4)


def gpu_peak() -> int:
    """Bytes that this process has held on its GPU at once since the last call at most; 0 without a GPU.

    JAX counts from the start of the process, and so does the first call.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.config.list_logical_devices("GPU"):
            return 0
        peak = int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        tf.config.experimental.reset_memory_stats("GPU:0")
        return peak
    if keras.backend.backend() == "jax":
        import jax

        device = jax.local_devices()[0]
        return int(device.memory_stats()["peak_bytes_in_use"]) if device.platform == "gpu" else 0
    return 0


@functools.cache
def prepare(threads: int, precision: str, gpu_share: float = 0.0) -> str:
    """Sets this process up, once, before any operation; returns the precision that convolutions compute in.

    A share of a GPU below one is a hard limit on what the process allocates there, so that trials side by side fail
    alone; with a whole GPU or more memory grows as it is needed.

    With several GPUs `over_all` spreads what it runs over them.

    On a CPU under TensorFlow bfloat16 is a rewriting of the graph (weights and sums stay float32), which "auto" takes
    where it is faster; on a GPU, and under JAX, it is Keras's mixed policy, taken only when asked for by name.
    """
    if 0 < gpu_share < 1 and gpu_memory():
        fraction = share_limit(gpu_memory(), gpu_share) / gpu_memory()
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{fraction:.3f}"
    elif gpu_share:
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    keras = import_keras()
    global _together
    _together = max(1, int(gpu_share))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            if 0 < gpu_share < 1 and gpu_memory():
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=share_limit(gpu_memory(), gpu_share) // 2**20)
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                tf.config.experimental.set_memory_growth(gpu, True)
        _put_kernels_in_place(compiled=not gpus)
        if not gpus and (precision == "bfloat16" or (precision == "auto" and faster_in_bfloat16())):
            os.environ.setdefault("TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE", ",".join(SLOW_IN_BFLOAT16))
            tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
            return "bfloat16"
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
        return "bfloat16"
    return "float32"


_together = 1  # GPUs on which this process trains one model


@contextmanager
def over_all() -> Iterator[None]:
    """What is built and trained meanwhile shares each batch out to all GPUs of a trial that has several, under JAX.

    Raises ValueError where this process sees fewer than `prepare` was told.
    """
    if _together == 1:
        yield
        return
    import keras

    there = keras.distribution.list_devices()
    if len(there) < _together:
        raise ValueError(f"the trial was given {_together} devices, and this process sees {', '.join(there) or 'none'}")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=there[:_together]))
    try:
        yield
    finally:
        keras.distribution.set_distribution(None)


def shared_out(batch: int, most: int) -> int:
    """The pictures of a batch that can be shared out to the GPUs of a trial in equal parts, of `most` there are.

    As many as wanted, or the next smaller number; at least one for each GPU.
    """
    return max(_together, min(batch, most) // _together * _together)


def _put_kernels_in_place(*, compiled: bool) -> None:
    """TensorFlow's own kernels for `models.kernels`; what XLA makes of an operation where that is `compiled`."""
    import keras
    import tensorflow as tf

    from models import kernels

    if compiled:
        # XLA fuses the arithmetic of every place with the reading there: a seventh of the time of TensorFlow's own
        # transformation of pictures. On a GPU it would need a compiler that TensorFlow's wheel does not bring.
        kernels.sampling = tf.function(kernels.sample, jit_compile=True)

    def normalization(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
        x, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=epsilon, is_training=True)
        count = tf.cast(tf.size(x) / tf.size(mean), tf.float32)
        # TensorFlow's is the estimate for all pictures that there could be, Keras's the variance of the batch.
        return x, mean, variance * (count - 1) / count

    def adam(
        variable: Any, first: Any, second: Any, gradient: Any, rate: Any, beta1: float, beta2: float, epsilon: float,
        step: Any,
    ) -> None:  # fmt: skip
        handles = [(one.value if isinstance(one, keras.Variable) else one).handle for one in (variable, first, second)]
        powers = [tf.pow(beta, tf.cast(step, tf.float32)) for beta in (beta1, beta2)]
        rate = tf.cast(rate, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=handles[0], m=handles[1], v=handles[2], beta1_power=powers[0], beta2_power=powers[1], lr=rate,
            beta1=beta1, beta2=beta2, epsilon=epsilon, grad=gradient,
        )  # fmt: skip

    kernels.normalization = normalization
    kernels.adam = adam


def forget_models() -> None:
    """Frees what the models of this process hold, compiled functions included; none may be trained on afterwards."""
    import keras

    keras.backend.clear_session()
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.framework import ops

        # Every traced training step sums its gradients over replicas, one or many, in a function whose gradient
        # TensorFlow registers by name and never takes back: the whole graph, 11 MiB of a deep network, would stay.
        registered = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
        for name in [name for name in registered if name.startswith("CustomGradient-")]:
            del registered[name]
    gc.collect()


def inference(model: Any) -> Inference:
    """A compiled forward pass of a model that will never be trained again, from arrays to arrays.

    It takes pictures or activations of any number, as uint8 or floating point, and gives float16, one array for each
    output of the model.
    """
    import keras

    from models.folding import folded

    # TensorFlow's own folding of constants misses much of it, a quarter of the time.
    model = folded(model)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        trained = [variable.numpy() for variable in model.trainable_variables]
        fixed = [variable.numpy() for variable in model.non_trainable_variables]

        @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.float32)])  # type: ignore[untyped-decorator]
        def run(batch: Any) -> Any:
            # Made in here: a constant from outside the function would reach it as an input, and nothing would fold.
            constants = [tf.constant(value) for value in trained], [tf.constant(value) for value in fixed]
            outputs, _ = model.stateless_call(*constants, batch, training=False)
            return [tf.cast(output, tf.float16) for output in _as_list(outputs)]

        return lambda batch: [output.numpy() for output in run(tf.cast(batch, tf.float32))]
    if keras.backend.backend() == "jax":
        import jax
        import jax.numpy as jnp

        trained = [variable.value for variable in model.trainable_variables]
        fixed = [variable.value for variable in model.non_trainable_variables]

        @jax.jit  # type: ignore[untyped-decorator]
        def forward(batch: Any) -> Any:
            outputs, _ = model.stateless_call(trained, fixed, batch.astype(jnp.float32), training=False)
            return [output.astype(jnp.float16) for output in _as_list(outputs)]

        return lambda batch: [np.asarray(output) for output in forward(batch)]

    def plain(batch: Array) -> list[Array]:
        outputs = _as_list(model(np.asarray(batch, np.float32), training=False))
        return [keras.ops.convert_to_numpy(output).astype(np.float16) for output in outputs]

    return plain


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
