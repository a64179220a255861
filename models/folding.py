"""A model as it is trained: the same function of the same variables, in less time than its layers take as written.

Batch norms that never train are folded into the convolutions before them, zeros around a picture into the convolution
behind them, and batch norms that train run in one kernel where the backend has it.
"""

from typing import Any

import keras

from models import kernels


class FoldedConvolution(keras.layers.Layer):  # type: ignore[misc]
    """A convolution and the frozen batch norm behind it, as one convolution with a bias.

    It has the variables of the two layers and none of its own: whatever trains the kernel here trains it there. The
    norm's factors are multiplied into the kernel at every step, which costs nothing beside the two passes over the
    activations, and the one over their gradients, that are saved. `padding` takes the place of the convolution's own.
    """

    def __init__(
        self, convolution: keras.layers.Layer, norm: keras.layers.BatchNormalization, padding: str = ""
    ) -> None:
        # Nothing is cast on the way in: in mixed precision the factors are computed in the variables' own.
        super().__init__(dtype=convolution.dtype_policy, autocast=False)
        self.convolution = convolution
        self.norm = norm
        self.padding = padding or convolution.padding

    def call(self, inputs: Any) -> Any:
        ops, convolution, norm = keras.ops, self.convolution, self.norm
        factor = ops.rsqrt(norm.moving_variance + norm.epsilon)
        if norm.scale:
            factor = factor * norm.gamma
        offset = (convolution.bias if convolution.use_bias else 0.0) - norm.moving_mean
        bias = offset * factor + norm.beta if norm.center else offset * factor
        depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
        if depthwise:
            factor = ops.reshape(factor, (1, 1, *convolution.kernel.shape[2:]))
        inputs, kernel, bias = (
            ops.cast(value, self.compute_dtype) for value in (inputs, convolution.kernel * factor, bias)
        )
        apply = ops.depthwise_conv if depthwise else ops.conv
        return apply(inputs, kernel, strides=convolution.strides, padding=self.padding) + bias


class OneKernelNorm(keras.layers.Layer):  # type: ignore[misc]
    """A batch norm that trains, by `models.kernels.normalization`; the layer's variables are its own."""

    def __init__(self, norm: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=norm.dtype_policy, autocast=False)
        self.norm = norm

    def call(self, inputs: Any, training: bool = False) -> Any:
        norm = self.norm
        if not training or kernels.normalization is None:
            return norm(inputs, training=training)
        x = keras.ops.cast(inputs, "float32")
        x, mean, variance = kernels.normalization(x, norm.gamma, norm.beta, norm.epsilon)
        for average, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            average.assign(average * norm.momentum + value * (1 - norm.momentum))
        return keras.ops.cast(x, self.compute_dtype)


def folded(model: keras.Model) -> keras.Model:
    """The same model for training and prediction, not for saving; all variables shared.

    Nested models are folded too. The model that it was made from has the same weights and only layers of Keras.
    """
    takers = _takers(model)
    norms = _foldable(model, takers)
    paddings = {  # by the identity of the convolution that takes the zeros upon itself
        id(taker): layer
        for layer, (taker, *others) in takers.items()
        if isinstance(layer, keras.layers.ZeroPadding2D)
        and not others
        and id(taker) in norms
        and _pads_the_same(layer, taker)
    }
    gone = {id(layer) for layer in (*norms.values(), *paddings.values())}

    def call(layer: Any, *arguments: Any, **more: Any) -> Any:
        if isinstance(layer, keras.Model):
            return folded(layer)(*arguments, **more)
        if id(layer) in norms:
            padding = "same" if id(layer) in paddings else ""
            return FoldedConvolution(layer, norms[id(layer)], padding)(*arguments)
        if _in_one_kernel(layer):
            return OneKernelNorm(layer)(*arguments)
        return arguments[0] if id(layer) in gone else layer(*arguments, **more)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _takers(model: keras.Model) -> dict[Any, list[Any]]:
    """By layer, those layers and operations that take what it gives, the model itself where it gives it away."""
    givers = {id(layer.output): layer for layer in model.layers if not isinstance(layer, keras.Model)}
    takers: dict[Any, list[Any]] = {}
    # Arithmetic between layers takes from them too.
    for layer in model.operations:
        if not isinstance(layer, keras.layers.InputLayer):
            for tensor in keras.tree.flatten(layer.input):
                if id(tensor) in givers:
                    takers.setdefault(givers[id(tensor)], []).append(layer)
    for tensor in model.outputs:
        if id(tensor) in givers:
            takers.setdefault(givers[id(tensor)], []).append(model)
    return takers


def _foldable(model: keras.Model, takers: dict[Any, list[Any]]) -> dict[int, keras.layers.BatchNormalization]:
    """By the identity of a convolution, the frozen batch norm that alone takes what it gives."""
    norms = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            plain = layer.depth_multiplier == 1
        elif type(layer) is keras.layers.Conv2D:
            plain = layer.groups == 1
        else:
            continue
        plain = plain and layer.activation is keras.activations.linear and layer.data_format == "channels_last"
        if plain and set(layer.dilation_rate) == {1}:
            match takers.get(layer, []):
                case [keras.layers.BatchNormalization() as norm] if not norm.trainable and norm.axis in (-1, 3):
                    norms[id(layer)] = norm
    return norms


def _pads_the_same(padding: keras.layers.ZeroPadding2D, taker: Any) -> bool:
    """Whether a convolution with padding "same" would put the same zeros around its input."""
    if taker.padding != "valid" or padding.data_format != "channels_last":
        return False
    for size, (before, after), kernel, stride in zip(
        padding.input.shape[1:3], padding.padding, taker.kernel_size, taker.strides, strict=True
    ):
        if size is None:
            return False
        most = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        if (before, after) != (most // 2, most - most // 2):
            return False
    return True


def _in_one_kernel(layer: Any) -> bool:
    plain = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and not layer.renorm
    maps = plain and layer.axis in (-1, 3) and len(layer.input.shape) == 4
    return bool(maps and layer.center and layer.scale and not layer.synchronized and kernels.normalization)
