import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.pictures.draw import to_uint8
from partinr.pictures.errors import error_map
from partinr.report.viewer import MOST_PIXELS, MOST_SIDE, Fit, check_size, write_view

HEIGHT, WIDTH = 20, 30
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)) / 255
FIT = (IMAGE + RNG.normal(0, 0.04, IMAGE.shape)).clip(0, 1)
LABELS = (np.arange(HEIGHT)[:, None] * 2 // HEIGHT) * 3 + np.arange(WIDTH)[None] * 3 // WIDTH
LABELS[3:6, 4:9] = 6


def write(path, image, fit, labels, fine=None, **about):
    """The page of one fit."""
    return write_view(path, image, [Fit(fit, labels, fine)], **about)


def content(page):
    """What is embedded in a page of one fit, pictures as arrays."""
    found = re.search(r'id="stage-data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    data["pictures"] = {"image": data["image"], **data["fits"][0]["pictures"]}
    for name, uri in data["pictures"].items():
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
            data["pictures"][name] = np.asarray(picture)
    return data


def test_the_page_holds_what_it_was_given_bit_by_bit(tmp_path):
    labels = LABELS * 70_000
    fine = RNG.random((2 * HEIGHT, 2 * WIDTH, 3))
    data = content(write(tmp_path / "view.html", IMAGE, FIT, labels, fine=fine, title="a"))
    assert np.array_equal(data["pictures"]["image"], to_uint8(IMAGE))
    assert np.array_equal(data["pictures"]["fit"], to_uint8(FIT))
    assert np.array_equal(data["pictures"]["fine"], to_uint8(fine))
    assert np.array_equal(data["pictures"]["labels"] @ [65536, 256, 1], labels)
    assert data["shape"] == [HEIGHT, WIDTH]


def test_the_page_asks_for_nothing_and_a_name_is_only_a_name(tmp_path):
    page = write(tmp_path / "view.html", IMAGE, FIT, LABELS, title="</script><img src=x>", facts=["<b>"])
    text = page.read_text()
    assert "<img" not in text
    assert "<b>" not in text
    assert not re.search(r"https?:|//[a-z]+\.", text)


def test_a_picture_of_halves_is_not_split(tmp_path):
    for wiped, first in ((True, "split"), (False, "side")):
        text = write_view(tmp_path / "view.html", IMAGE, [Fit(FIT, LABELS, wiped=wiped)], title="a").read_text()
        assert re.findall(r'name="mode" value="(\w+)" checked', text) == [first]
        assert ('value="split"' in text) == ("<kbd>s</kbd> split" in text) == wiped


def test_what_does_not_belong_together_is_refused(tmp_path):
    for image, fit, labels in ((IMAGE[1:], FIT, LABELS), (IMAGE, FIT, LABELS[:, 1:]), (IMAGE[:, :, :1], FIT, LABELS)):
        with pytest.raises(PartinrError, match="give those of one image"):
            write(tmp_path / "view.html", image, fit, labels, title="a")
    with pytest.raises(PartinrError, match="choose another with -o"):
        write(tmp_path, IMAGE, FIT, LABELS, title="a")


def test_a_picture_of_a_page_has_bounds():
    check_size((4320, 7680))
    check_size((1, MOST_SIDE))
    for shape in ((1, MOST_SIDE + 1), (MOST_PIXELS // 4096 + 1, 4096)):
        with pytest.raises(PartinrError, match="give a smaller --scale"):
            check_size(shape)


# ---------------------------------------------------------------------------------------------------------------------
# In a browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("view") / "view.html", IMAGE, FIT, LABELS, title="a")


@pytest.fixture
def opened(chromium, page_file):
    def open_page(address="", file=page_file, **size):
        page = chromium(file, **size)
        page.wait_for_function("() => performance.getEntriesByName('usable').length === 1")
        if address:
            page.evaluate("address => { location.hash = address }", address)
            settle(page)
        return page

    return open_page


def settle(page):
    """Wait for what has been asked for to be drawn."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
    )


def pixel(page, row, column):
    """The colour on the screen in the middle of a pixel of the image, shown in a lone pane."""
    return page.evaluate(
        """([row, column]) => {
          const zoom = zoomNow();
          const x = stage.clientWidth / 2 + (column + 0.5 - view.column) * zoom;
          const y = stage.clientHeight / 2 + (row + 0.5 - view.row) * zoom;
          return [...paper.getImageData(Math.round(x), Math.round(y), 1, 1).data.slice(0, 3)];
        }""",
        [row, column],
    )


def state(page):
    return page.evaluate("({ ...view, zoom: zoomNow() })")


def box(page):
    return page.locator("#stage").bounding_box()


def middle(page):
    where = box(page)
    return where["x"] + where["width"] / 2, where["y"] + where["height"] / 2


@pytest.mark.browser
def test_enlarged_pixels_are_the_pixels_themselves(opened):
    wanted = {"left": to_uint8(IMAGE), "right": to_uint8(FIT)}
    wanted["error"] = to_uint8(error_map(wanted["left"] / 255, wanted["right"] / 255))
    for mode, values in wanted.items():
        page = opened(f"mode={mode}&borders=off&zoom=40&at=10,15")
        for row, column in ((8, 10), (10, 15), (12, 20)):
            assert pixel(page, row, column) == values[row, column].tolist(), (mode, row, column)


@pytest.mark.browser
def test_a_finer_fit_is_drawn_and_the_error_stays_that_of_the_pixels(opened, tmp_path):
    fine = np.zeros((2 * HEIGHT, 2 * WIDTH, 3))
    fine[1::2, 1::2] = (1, 0, 0)  # the lower right quarter of each pixel begins at its middle
    file = write(tmp_path / "view.html", IMAGE, FIT, LABELS, fine=fine, title="a")
    page = opened("mode=right&borders=off&zoom=40&at=10,15", file)
    assert pixel(page, 10.25, 15.25) == [255, 0, 0]
    assert pixel(page, 9.75, 14.75) == [0, 0, 0]
    page.focus("#stage")
    settle(page)
    assert page.locator("#fit").inner_text() == ", ".join(map(str, to_uint8(FIT)[10, 15]))


@pytest.mark.browser
def test_the_pixel_under_the_pointer_is_read_out(opened):
    page = opened("mode=side&zoom=16&at=10,15")
    where = box(page)
    image, fit = to_uint8(IMAGE), to_uint8(FIT)
    for row, column in ((4, 5), (13, 22)):
        for half in (0.25, 0.75):  # the same place in either pane
            x = where["x"] + half * where["width"] + 16 * (column + 0.5 - 15)
            page.mouse.move(x, middle(page)[1] + 16 * (row + 0.5 - 10))
            settle(page)
            said = {key: page.locator(f"#{key}").inner_text() for key in ("pixel", "region", "image", "fit", "error")}
            assert said["pixel"] == f"{row}, {column}"
            assert said["region"] == str(LABELS[row, column])
            assert said["image"] == ", ".join(map(str, image[row, column]))
            assert said["fit"] == ", ".join(map(str, fit[row, column]))
            error = np.abs(image[row, column].astype(float) - fit[row, column]).mean() / 255
            assert float(said["error"]) == pytest.approx(error, abs=6e-5)
            y, x = (float(part) for part in page.locator("#coords").inner_text().split(", "))
            # To a pixel of the screen, of which a place of the pointer is a whole number.
            assert y == pytest.approx((2 * row + 1) / HEIGHT - 1, abs=2 / HEIGHT / 16)
            assert x == pytest.approx((2 * column + 1) / WIDTH - 1, abs=2 / WIDTH / 16)
    page.mouse.move(where["x"] + 2, where["y"] + 2)
    settle(page)
    assert page.locator("#pixel").inner_text() == "–"


@pytest.mark.browser
def test_the_lines_are_the_borders_of_the_regions(opened):
    page = opened()
    down, across = page.evaluate("[[...fits[0].lines.down], [...fits[0].lines.across]]")
    seen: list[set[tuple[int, int]]] = [set(), set()]
    for found, cells in zip((down, across), seen, strict=True):
        for line in np.reshape(found, (-1, 3)).tolist():
            cells |= {(line[0], place) for place in range(line[1], line[2])}
    wanted = [
        {(column + 1, row) for row, column in np.argwhere(LABELS[:, 1:] != LABELS[:, :-1]).tolist()},
        {(row + 1, column) for row, column in np.argwhere(LABELS[1:] != LABELS[:-1]).tolist()},
    ]
    assert seen == wanted
    # They are drawn, and can be left out.
    shown = page.evaluate("canvas.toDataURL()")
    page.keyboard.press("b")
    settle(page)
    assert page.evaluate("canvas.toDataURL()") != shown
    assert not page.locator("#borders").is_checked()


@pytest.mark.browser
def test_the_wheel_and_two_fingers_keep_what_is_under_them(opened):
    page = opened("zoom=16&at=10,15")
    x, y = (part + 60 for part in middle(page))
    page.mouse.move(x, y)
    settle(page)

    def coords():
        return [float(part) for part in page.locator("#coords").inner_text().split(", ")]

    before = coords()
    page.mouse.wheel(0, -200)
    settle(page)
    assert state(page)["zoom"] > 20
    # To a pixel of the screen, of which a place of the pointer is a whole number.
    assert coords() == pytest.approx(before, abs=2 / HEIGHT / 16)

    page.evaluate(
        """() => {
          stage.setPointerCapture = () => {};
          const box = stage.getBoundingClientRect();
          const send = (kind, pointerId, x, y) => stage.dispatchEvent(new PointerEvent(kind, {
            pointerId, clientX: box.left + x, clientY: box.top + y, bubbles: true, pointerType: "touch" }));
          window.there = [under(300, 200), zoomNow()];
          send("pointerdown", 11, 250, 200);
          send("pointerdown", 12, 350, 200);
          send("pointermove", 11, 200, 200);
          send("pointermove", 12, 400, 200);
          send("pointerup", 11, 200, 200);
          send("pointerup", 12, 400, 200);
        }"""
    )
    (place, zoom), (now, zoomed) = page.evaluate("[there, [under(300, 200), zoomNow()]]")
    assert zoomed == pytest.approx(2 * zoom)
    assert (now["row"], now["column"]) == pytest.approx((place["row"], place["column"]))


@pytest.mark.browser
def test_dragging_and_keys_move(opened):
    page = opened("zoom=16&at=10,15")
    x, y = middle(page)
    page.mouse.move(x - 100, y)
    page.mouse.down()
    page.mouse.move(x - 100 + 32, y + 16)
    page.mouse.up()
    assert (state(page)["row"], state(page)["column"]) == pytest.approx((9, 13))
    page.focus("#stage")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert (state(page)["row"], state(page)["column"]) == pytest.approx((9 + 40 / 16, 13 + 40 / 16))
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    assert state(page)["column"] == 0
    page.keyboard.press("+")
    assert state(page)["zoom"] == pytest.approx(20)
    page.keyboard.press("1")
    assert state(page)["zoom"] == 1
    page.keyboard.press("0")
    where = box(page)
    assert state(page)["zoom"] == pytest.approx(min(where["width"] / WIDTH, where["height"] / HEIGHT), rel=0.01)
    for key, mode in ((" ", "left"), (" ", "right"), (" ", "left"), ("e", "error"), ("d", "side"), ("s", "split")):
        page.keyboard.press(key)
        assert state(page)["mode"] == mode


@pytest.mark.browser
def test_the_divider_follows_the_pointer_and_the_keys(opened):
    page = opened("borders=off&zoom=16&at=10,15")
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 160, y)
    page.mouse.up()
    assert state(page)["split"] == pytest.approx(0.5 + 160 / box(page)["width"], abs=1e-3)
    settle(page)
    page.mouse.move(x, box(page)["y"] + 2)
    settle(page)
    # Ten pixels further to the right it is now the image that is shown up to there.
    assert pixel(page, 10, 20) == to_uint8(IMAGE)[10, 20].tolist()
    page.focus("#divider")
    page.keyboard.press("Home")
    settle(page)
    assert page.get_attribute("#divider", "aria-valuenow") == "0"
    assert pixel(page, 10, 20) == to_uint8(FIT)[10, 20].tolist()


@pytest.mark.browser
def test_the_address_keeps_what_is_shown(opened, page_file):
    page = opened()
    page.get_by_text("side by side", exact=True).click()
    page.get_by_role("button", name="Zoom in").click()
    page.locator("#borders").uncheck()
    page.wait_for_function("() => location.hash.includes('borders=off')")
    kept, before = page.evaluate("location.hash.slice(1)"), state(page)
    again = opened(kept)
    now = state(again)
    assert (now.pop("mode"), now["borders"]) == (before.pop("mode"), False) == ("side", False)
    assert now.pop("of") == before.pop("of")
    assert now == pytest.approx(before, rel=1e-3)


@pytest.mark.browser
def test_the_page_fits_its_window_and_grey_is_one_number(opened, tmp_path):
    file = write(tmp_path / "view.html", IMAGE[:, :, :1], FIT[:, :, :1], LABELS, title="grey")
    page = opened("mode=left&borders=off&zoom=40&at=10,15", file)
    page.focus("#stage")
    settle(page)
    assert page.locator("#image").inner_text() == str(to_uint8(IMAGE)[10, 15, 0])
    for width in (1280, 700, 400):
        page.set_viewport_size({"width": width, "height": 700})
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert box(page)["height"] > 200


@pytest.mark.browser
def test_more_borders_than_can_be_seen_are_left_out_with_a_word(opened, tmp_path):
    side = 400
    noise = np.random.default_rng(1).integers(0, 2, (side, side))
    flat = np.zeros((side, side, 1))
    file = write(tmp_path / "view.html", flat, flat, noise, title="noise")
    page = opened("mode=left", file)
    assert "Zoom in" in page.locator("#message").inner_text()
    page.evaluate("location.hash = 'mode=left&zoom=32&at=100,100'")
    settle(page)
    assert page.locator("#message").inner_text() == ""


@pytest.mark.browser
def test_two_fits_are_compared_with_each_other(opened, tmp_path):
    other, one = (1 - IMAGE), np.zeros_like(LABELS)
    fits = [Fit(FIT, LABELS, name="grid #6"), Fit(other, one, name="none")]
    file = write_view(tmp_path / "two.html", IMAGE, fits, title="two")
    page = opened("mode=left&borders=off&zoom=40&at=10,15", file)
    assert page.locator("#left").inner_text() == "grid #6"
    assert pixel(page, 10, 15) == to_uint8(FIT)[10, 15].tolist()
    page.keyboard.press(" ")
    page.keyboard.press("e")
    settle(page)
    error = to_uint8(error_map(to_uint8(IMAGE) / 255, to_uint8(other) / 255))
    assert pixel(page, 10, 15) == error[10, 15].tolist()
    assert page.locator("#left").inner_text() == "none, error"
    page.focus("#stage")
    settle(page)
    assert page.locator("#region").inner_text() == f"{LABELS[10, 15]} | 0"
    assert len(page.locator("#error").inner_text().split(" | ")) == 2
    page.locator('select[name="right"]').select_option("image")
    page.get_by_text("fits", exact=True).click()
    settle(page)
    assert pixel(page, 10, 15) == to_uint8(IMAGE)[10, 15].tolist()
