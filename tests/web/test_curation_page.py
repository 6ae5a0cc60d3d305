"""The curation report in a real browser, opened from disk as a person does."""

import csv
import io
import shlex
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from tests import tables
from tests.browser import SECONDS

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def root(small_root, small_source, run_job, tmp_path_factory):
    """`small_root` with a verdict of an earlier review."""
    root = tmp_path_factory.mktemp("curation") / "root"
    shutil.copytree(small_root, root)
    return root


@pytest.fixture(scope="module")
def divided(described_root, run_job, tmp_path_factory):
    """`described_root`, with the photos of landmark 22 in two halves that nothing links."""
    root = tmp_path_factory.mktemp("divided") / "root"
    shutil.copytree(described_root, root)
    kept = tables.rows(root, "kept")
    half = set(sorted(kept.image_id[kept.landmark_id == 22])[::2])

    def linked(row):
        near = [i for i in row["neighbours"] if (i in half) == (row["image_id"] in half)]
        return row | ({"neighbours": near} if row["landmark_id"] == 22 else {})

    for file in root.glob("[kp]*/bucket=*/shard-*.parquet"):
        table = pq.read_table(file, partitioning=None)
        if file.parts[-3] == "kept":
            changed = [linked(row) for row in table.to_pylist()]
        else:
            changed = [
                r for r in table.to_pylist() if (r["image_a"] in half) == (r["image_b"] in half)
            ]
        pq.write_table(pa.Table.from_pylist(changed, table.schema), file)
    done = run_job("report", "--root", root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def page(browser, root):
    """The report in a tab of its own, in which nothing may go wrong."""
    yield from opened(browser, root)


@pytest.fixture
def divided_page(browser, divided):
    """The report of `divided`."""
    yield from opened(browser, divided)


def opened(browser, root):
    context = browser.new_context(accept_downloads=True)
    page, wrong = context.new_page(), []
    page.set_default_timeout(SECONDS * 1000)
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url),
    )
    page.goto((root / "reports/curation.html").as_uri())
    yield page
    context.close()
    assert not wrong


def rows(page):
    return page.locator("#class-table tbody tr")


def downloaded(page):
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download verdicts.csv").click()
    assert waiting.value.suggested_filename == "verdicts.csv"
    return waiting.value.path().read_text()


def test_landmarks_can_be_found_filtered_and_sorted(page):
    total = rows(page).count()
    expect(page.locator("#class-count")).to_have_text(f"{total} of {total} landmarks")
    first = rows(page).first.locator("th").inner_text()
    page.locator("#class-search").fill(first)
    expect(rows(page)).to_have_count(1)
    page.locator("#class-search").fill("no such landmark")
    expect(rows(page)).to_have_count(0)
    page.locator("#class-search").fill("")
    page.locator("#class-filter").select_option("kept")
    kept = rows(page).count()
    page.locator("#class-filter").select_option("gone")
    expect(rows(page)).to_have_count(total - kept)
    page.locator("#class-filter").select_option("all")
    page.get_by_role("button", name="usable").click()
    counts = [int(t) for t in page.locator("#class-table td:nth-child(4)").all_inner_texts()]
    assert counts == sorted(counts, reverse=True)
    page.get_by_role("button", name="usable").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("usable")


def test_pages_turn(page):
    total = rows(page).count()
    page.evaluate(
        """() => {
          const n = classes.id.length;
          for (let i = 0; i < 120; i++) {
            for (const key in classes) classes[key].push(classes[key][i % n]);
            lower.push(lower[i % n]);
            all.push(n + i);
          }
          choose();
        }"""
    )
    pages = -(-(total + 120) // 50)
    expect(page.locator("#page-number")).to_have_text(f"Page 1 of {pages}")
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    for number in range(2, pages + 1):
        page.get_by_role("button", name="Next").click()
        expect(page.locator("#page-number")).to_have_text(f"Page {number} of {pages}")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    expect(rows(page)).to_have_count(total + 120 - 50 * (pages - 1))


def test_cards_are_filtered(page):
    card = page.locator(".card[data-words]").first
    image = card.locator("code").last.inner_text()
    page.get_by_label("Show only the cards").fill(image)
    shown = page.locator(".card[data-words]:visible")
    assert shown.count() and all(
        image in w for w in shown.evaluate_all("c => c.map(x => x.dataset.words)")
    )
    page.get_by_label("Show only the cards").fill("")
    expect(page.locator("#card-count")).to_have_text("")


def test_marks_are_kept_over_a_reload_and_downloaded(page):
    download = page.get_by_role("button", name="Download verdicts.csv")
    expect(download).to_be_disabled()
    card = page.locator("#borderline").locator("xpath=ancestor::section").locator(".card").first
    image = card.locator(".marks code").inner_text()
    page.get_by_label("Reason").fill('a drawing, "not" a photo')
    card.get_by_role("button", name="Drop").click()
    expect(card.get_by_role("button", name="Drop")).to_have_attribute("aria-pressed", "true")
    landmark = rows(page).nth(1).locator("th").inner_text()
    page.get_by_label("Reason").fill("")
    rows(page).nth(1).get_by_role("button", name="Keep").click()
    expect(page.locator("#mark-count")).to_have_text("1 to keep, 1 to drop")
    page.reload()
    expect(page.locator("#mark-count")).to_have_text("1 to keep, 1 to drop")
    text = downloaded(page)
    assert list(csv.DictReader(io.StringIO(text))) == [
        {
            "verdict": "drop",
            "image_id": image,
            "landmark_id": "",
            "reason": 'a drawing, "not" a photo',
        },
        {"verdict": "keep", "image_id": "", "landmark_id": landmark, "reason": ""},
    ]
    card.get_by_role("button", name="Keep").click()  # another opinion
    expect(page.locator("#mark-count")).to_have_text("2 to keep, 0 to drop")
    card.get_by_role("button", name="Keep").click()  # none
    expect(page.locator("#mark-count")).to_have_text("1 to keep, 0 to drop")
    page.get_by_role("button", name="Clear").click()
    expect(download).to_be_disabled()


def section(page, key):
    return page.locator(f"#{key}").locator("xpath=ancestor::section")


def test_photo_that_is_similar_only_has_its_neighbours_beside_it(divided_page, divided, run_job):
    kept = tables.rows(divided, "kept").set_index("image_id")
    cards = section(divided_page, "similar").locator(".card")
    expect(cards).to_have_count(int((kept.reason == "similar").sum()))
    for card in cards.all():
        image = kept.loc[card.locator(".marks code").inner_text()]
        assert image.reason == "similar"
        near = card.get_by_role("list", name="The photos that resemble it most").locator("li")
        same = [kept.landmark_id[i] == image.landmark_id for i in image.neighbours]
        assert near.evaluate_all("all => all.map(li => li.className === 'same')") == same
        for picture in near.locator("img").all():
            picture.scroll_into_view_if_needed()
            expect(picture).to_have_js_property("complete", True)
            assert picture.evaluate("img => img.naturalWidth") > 30
    for key in ("borderline", "similar"):
        number = section(divided_page, key).locator(".number").first
        done = run_job("rows", *shlex.split(number.get_attribute("data-copy"))[2:])
        assert done.stderr.strip() == f"{number.inner_text()} rows"


def test_one_button_marks_a_part_of_a_landmark(divided_page, divided):
    kept = tables.rows(divided, "kept")
    images = sorted(kept.image_id[(kept.landmark_id == 22) & kept.keep])
    halves = images[::2], images[1::2]
    parts = section(divided_page, "parts").locator(".part")
    first, second = parts.nth(0), parts.nth(1)
    divided_page.get_by_label("Reason").fill("an album of another place")
    first.get_by_role("button", name="Drop all").click()
    second.get_by_role("button", name="Keep all").click()
    rows = list(csv.DictReader(io.StringIO(downloaded(divided_page))))
    assert {(r["landmark_id"], r["reason"]) for r in rows} == {("", "an album of another place")}
    dropped, stay = ([r["image_id"] for r in rows if r["verdict"] == v] for v in ("drop", "keep"))
    assert f"{len(dropped)} photos" in first.inner_text()
    assert f"{len(stay)} photos" in second.inner_text()
    assert len(dropped) >= len(stay) > 1
    assert any(set(dropped) <= set(half) and not set(stay) & set(dropped) for half in halves)
    expect(first.get_by_role("button", name="Drop all")).to_have_attribute("aria-pressed", "true")
    first.get_by_role("button", name="Keep all").click()  # another opinion
    count = len(dropped) + len(stay)
    expect(divided_page.locator("#mark-count")).to_have_text(f"{count} to keep, 0 to drop")
    first.get_by_role("button", name="Keep all").click()  # none
    expect(divided_page.locator("#mark-count")).to_have_text(f"{len(stay)} to keep, 0 to drop")


def test_the_next_run_reads_what_was_downloaded(page, root, small_source, run_job, tmp_path):
    card = page.locator("#borderline").locator("xpath=ancestor::section").locator(".card").first
    image = card.locator(".marks code").inner_text()
    card.get_by_role("button", name="Drop").click()
    verdicts = tmp_path / "verdicts.csv"
    verdicts.write_text(downloaded(page))
    again = tmp_path / "root"
    shutil.copytree(root, again)
    args = ("--source", small_source.path, "--root", again, *small_source.options)
    done = run_job(
        "pipeline",
        *args,
        "--redo",
        "clean",
        "--from",
        "clean",
        "--to",
        "clean",
        "--clean.verdicts",
        verdicts,
    )
    assert done.returncode == 0, done.stderr
    listed = run_job("rows", "--root", again, "--table", "cleaned", "--where", f"image_id={image}")
    (row,) = csv.DictReader(io.StringIO(listed.stdout))
    assert (row["keep"], row["reason"], row["verdict"]) == ("false", "dropped", "drop")
    page.goto((again / "reports/curation.html").as_uri())
    expect(page.locator("#mark-count")).to_have_text("0 to keep, 1 to drop")  # goes on from there


def test_a_number_copies_the_command_that_lists_its_rows(page, browser, root, run_job):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.locator("#borderline").locator("xpath=ancestor::section").locator(".number").first
    count = int(button.inner_text().replace(",", ""))
    button.click()
    expect(page.get_by_role("status")).to_contain_text("jobs/rows.py")
    command = shlex.split(button.get_attribute("data-copy"))
    done = run_job("rows", *command[2:])
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == f"{count:,} rows"


def test_without_a_clipboard_the_command_stays_selected_until_it_is_copied(page):
    page.clock.install()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    button = page.locator("#borderline").locator("xpath=ancestor::section").locator(".number").first
    button.click()
    command = button.get_attribute("data-copy")
    expect(page.get_by_role("status")).to_have_text(command)
    page.clock.run_for(60_000)
    expect(page.get_by_role("status")).to_have_text(command)
    assert page.evaluate("getSelection().toString()") == command


def test_every_number_lists_as_many_rows(page, run_job):
    """Of the funnel's, one of each table and reason."""
    buttons = page.locator("#funnel").locator("xpath=ancestor::section").locator(".number")
    wanted = buttons.evaluate_all("all => all.map(b => [b.dataset.copy, b.textContent])")
    assert len(wanted) > 8
    for command, count in wanted:
        done = run_job("rows", *shlex.split(command)[2:])
        assert done.stderr.strip() == f"{count} rows", command


@pytest.mark.parametrize("of", ["root", "divided"])
def test_it_fits_a_phone(of, browser, request):
    root = request.getfixturevalue(of)
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    page.goto((root / "reports/curation.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
