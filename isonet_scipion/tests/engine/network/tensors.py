"""The tensors that a network makes."""

import numpy as np
import tensorflow as tf


def largest(model, sides):
    """Elements of the largest tensor that a network makes of a volume of these sides, kernels aside."""
    taken = tf.TensorSpec((1, *sides, model.input.shape[-1]), tf.float32)
    made = tf.function(model).get_concrete_function(taken, training=False)
    tensors = (tensor.shape for operation in made.graph.get_operations() for tensor in operation.outputs)
    return max(int(np.prod(shape)) for shape in tensors if shape.rank == 5 and shape[0] == 1)
