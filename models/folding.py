"""Batch norms that never train, folded into the convolutions before them: the same function, trained in less time."""

from typing import Any

import keras


class FoldedConvolution(keras.layers.Layer):  # type: ignore[misc]
    """A convolution and the frozen batch norm behind it, as one convolution with a bias.

    It has the variables of the two layers and none of its own: whatever trains the kernel here trains it there. The
    norm's factors are multiplied into the kernel at every step, which costs nothing beside the two passes over the
    activations, and the one over their gradients, that are saved.
    """

    def __init__(self, convolution: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> None:
        # Nothing is cast on the way in: in mixed precision the factors are computed in the variables' own.
        super().__init__(dtype=convolution.dtype_policy, autocast=False)
        self.convolution = convolution
        self.norm = norm

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
        return apply(inputs, kernel, strides=convolution.strides, padding=convolution.padding) + bias


def folded(model: keras.Model) -> keras.Model:
    """The same model with every frozen batch norm folded that directly follows a convolution; all variables shared.

    Nested models are folded too. The result is for training and prediction, not for saving: the model that it was made
    from has the same weights and only layers of Keras.
    """
    norms = _foldable(model)
    gone = {id(norm) for norm in norms.values()}

    def call(layer: Any, *arguments: Any, **more: Any) -> Any:
        if isinstance(layer, keras.Model):
            return folded(layer)(*arguments, **more)
        if id(layer) in norms:
            return FoldedConvolution(layer, norms[id(layer)])(*arguments)
        return arguments[0] if id(layer) in gone else layer(*arguments, **more)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _foldable(model: keras.Model) -> dict[int, keras.layers.BatchNormalization]:
    """By the identity of a convolution, the frozen batch norm that alone takes what it gives."""
    takers: dict[int, list[Any]] = {}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            for tensor in keras.tree.flatten(layer.input):
                takers.setdefault(id(tensor), []).append(layer)
    given = {id(tensor) for tensor in model.outputs}
    norms = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            plain = layer.depth_multiplier == 1
        elif type(layer) is keras.layers.Conv2D:
            plain = layer.groups == 1
        else:
            continue
        plain = plain and layer.activation is keras.activations.linear and layer.data_format == "channels_last"
        followers = takers.get(id(layer.output), [])
        if plain and set(layer.dilation_rate) == {1} and len(followers) == 1 and id(layer.output) not in given:
            (norm,) = followers
            if isinstance(norm, keras.layers.BatchNormalization) and not norm.trainable and norm.axis in (-1, 3):
                norms[id(layer)] = norm
    return norms
