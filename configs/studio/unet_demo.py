"""The model that `unets mask demo` uses: a small U-Net at 256 x 384 on rendered cars.

Run:      unets render studio --train-cars 40 --test-cars 2
          unets split studio && unets train studio --exp unet_demo --fold 0
          unets predict studio --exp unet_demo --fold 0
          unets export studio --exp unet_demo --fold 0 --picture examples/car_side.jpg
Result:   Dice 0.98972 (0.98874 to 0.99065) out-of-fold, 320 images of 20 cars, trained at a67d6cb in 4 CPU-minutes,
          exported at 8ddae6d. src/unets/export/demo.safetensors is that file, its numbers in float16.
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(256, 384), batch_size=8),
    model=ModelConfig(depth=4, base_filters=8, stride=4),
    training=TrainingConfig(epochs=30, learning_rate=3e-3),
)
