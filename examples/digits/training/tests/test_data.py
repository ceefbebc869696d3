import numpy as np

import data


def test_no_held_out_image_is_trained_on():
    digits = data.load()
    # scikit-learn's set holds no image twice, so that identity is membership.
    trained = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in trained for image in digits.held_out_images)
    assert len(digits.held_out_labels) == 360


def test_the_split_and_its_digest_are_the_same_every_time():
    first, second = data.load(), data.load()
    assert first.digest == second.digest
    assert np.array_equal(first.held_out_images, second.held_out_images)


def test_every_class_is_held_out_in_its_share():
    digits = data.load()
    assert set(np.bincount(digits.held_out_labels)) <= {34, 35, 36, 37}
