"""The 68 points of iBUG in parts: https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/."""

from ice_lightning import labels
from ice_lightning.synthetic import neutral, render


def numbers(part):
    return list(range(labels.LANDMARKS))[part]


def test_the_parts_have_every_point_once():
    parts = (
        labels.JAW,
        labels.BROWS,
        labels.NOSE_RIDGE,
        labels.NOSE_BASE,
        labels.LEFT_EYE,
        labels.RIGHT_EYE,
        labels.MOUTH,
    )
    assert [point for part in parts for point in numbers(part)] == list(range(68))
    assert numbers(labels.LEFT_BROW) + numbers(labels.RIGHT_BROW) == numbers(labels.BROWS)
    assert numbers(labels.OUTER_LIPS) + numbers(labels.INNER_LIPS) == numbers(labels.MOUTH)


def test_the_lips_share_their_corners_and_have_all_other_points_of_the_mouth_once():
    corners = {48, 54, 60, 64}
    assert set(labels.UPPER_LIP) & set(labels.LOWER_LIP) == corners
    assert sorted({*labels.UPPER_LIP, *labels.LOWER_LIP}) == numbers(labels.MOUTH)
    assert {labels.LEFT_MOUTH_CORNER, labels.RIGHT_MOUTH_CORNER} < corners
    assert len(labels.UPPER_LIP) + len(labels.LOWER_LIP) == 20 + len(corners)


def test_single_points_lie_on_a_face_where_their_names_say():
    x, y = render(neutral(), 128).landmarks[0].T.tolist()
    jaw, ridge, base, mouth = (numbers(getattr(labels, n)) for n in ("JAW", "NOSE_RIDGE", "NOSE_BASE", "MOUTH"))
    assert min(jaw, key=x.__getitem__) == labels.LEFT_JAW_END and max(jaw, key=x.__getitem__) == labels.RIGHT_JAW_END
    assert max(jaw, key=y.__getitem__) == labels.CHIN
    assert min(ridge, key=y.__getitem__) == labels.NOSE_BRIDGE and max(ridge, key=y.__getitem__) == labels.NOSE_TIP
    assert min(base, key=x.__getitem__) == labels.LEFT_NOSTRIL and max(base, key=x.__getitem__) == labels.RIGHT_NOSTRIL
    assert min(numbers(labels.LEFT_EYE), key=x.__getitem__) == labels.LEFT_EYE_CORNER
    assert max(numbers(labels.RIGHT_EYE), key=x.__getitem__) == labels.RIGHT_EYE_CORNER
    assert min(mouth, key=x.__getitem__) == labels.LEFT_MOUTH_CORNER
    assert max(mouth, key=x.__getitem__) == labels.RIGHT_MOUTH_CORNER
