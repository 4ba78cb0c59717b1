"""The model that `unets mask demo` uses: a small U-Net at 256 x 384 on rendered cars.

Run:      unets render studio --train-cars 40 --test-cars 2
          unets split studio && unets train studio --exp unet_demo --fold 0
          unets predict studio --exp unet_demo --fold 0
          unets export studio --exp unet_demo --fold 0 --picture examples/car_side.jpg
Result:   Dice 0.98985 (0.98884 to 0.99082) out-of-fold, 320 images of 20 cars; 6 minutes on two busy CPU cores
          (commit eb64e1c). The file is src/unets/export/demo.safetensors.
"""

from unets.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig

EXPERIMENT = ExperimentConfig(
    data=DataConfig(size_hw=(256, 384), batch_size=8),
    model=ModelConfig(depth=4, base_filters=8, stride=4),
    training=TrainingConfig(epochs=30, learning_rate=3e-3),
)
