# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The operator's page in Chromium: by keyboard alone, on a phone, in light and in dark.

``PANEL_SCREENSHOTS=FOLDER`` keeps images of it, to be looked at.
"""

import os
from pathlib import Path
import shutil

from panel_harness import Client
from panel_harness import DEADLINE
from panel_harness import panel
import pytest
from scripted_robot import ScriptedRobot
from vla_ros.server.panel.robot import Outcome
from vla_ros.server.panel.robot import TaskRequest

api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: '
                          'pip install -r requirements-browser.txt')

#: Contrast of an element's letters with what is behind them, by WCAG's formula.
CONTRAST = """element => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = color => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = color => {
        const [r, g, b] = rgba(color).slice(0, 3).map(v => v / 255).map(
            v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let ground = element;
    while (ground && rgba(getComputedStyle(ground).backgroundColor)[3] < 255)
        ground = ground.parentElement;
    const pair = [luminance(getComputedStyle(element).color),
                  luminance(getComputedStyle(ground).backgroundColor)];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


@pytest.fixture(scope='module')
def browser():
    """Start Chromium: that of the system, or the one that Playwright has installed."""
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser',
                                                'google-chrome'))), None)
    with api.sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=path, args=['--no-sandbox'])
        except api.Error as error:
            pytest.skip(f'no Chromium ({str(error).splitlines()[0]}): sudo apt install chromium, '
                        'or playwright install chromium')
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, request):
    """Yield a function that opens the page; an error in the browser's console fails the test."""
    contexts, problems = [], []

    def open_page(port, width=1280, height=900, scheme='light', token=None, **settings):
        context = browser.new_context(viewport={'width': width, 'height': height},
                                      color_scheme=scheme, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * DEADLINE)
        page.on('pageerror', lambda error: problems.append(str(error)))
        page.on('console', lambda line: line.type == 'error' and problems.append(line.text))
        page.goto(f'http://127.0.0.1:{port}/')
        return page

    yield open_page
    for context in contexts:
        context.close()
    # The server of a test ends before its pages do.
    expected = ('ERR_CONNECTION_REFUSED',
                *getattr(request.node.function, 'expected_problems', ()))
    assert [one for one in problems if not any(text in one for text in expected)] == []


def expect_problems(*texts):
    """Mark a test in which the browser logs errors that contain one of these texts."""
    def mark(test):
        test.expected_problems = texts
        return test
    return mark


def save_screenshot(page, name):
    folder = os.environ.get('PANEL_SCREENSHOTS')
    if folder:
        page.screenshot(path=str(Path(folder) / f'{name}.png'))


def expect_text(page, selector, text):
    """Wait until an element contains a text."""
    api.expect(page.locator(selector)).to_contain_text(text, timeout=1000 * DEADLINE)


def test_the_page_shows_status_image_path_and_plots(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        robot.show_image()
        expect_text(page, '#state', 'RUNNING')
        expect_text(page, '.overlay', 'push the red block')
        expect_text(page, '.tokens', '31650 31634')
        expect_text(page, '#numbers', '183 ms')
        expect_text(page, '#plots', 'joint_6')
        # The image is there, and the path over it, in yellow.
        assert page.evaluate("""() => {
            const [image, path] = document.querySelectorAll('.screen canvas');
            const at = (canvas, x, y) => [...canvas.getContext('2d').getImageData(
                x * canvas.width, y * canvas.height, 1, 1).data];
            return [at(image, 0.1, 0.1).slice(0, 3).every((v, i) =>
                        Math.abs(v - [90, 120, 90][i]) < 6),
                    at(path, 0.5, 0.6)[3] > 200, at(path, 0.1, 0.1)[3]];
        }""") == [True, True, 0]
        # The plots are drawn in the legend's colours.
        assert page.evaluate("""() => {
            const canvas = document.querySelectorAll('.plot canvas')[3];
            const data = canvas.getContext('2d').getImageData(
                0, 0, canvas.width, canvas.height).data;
            const found = new Set();
            for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] === 255)
                    found.add(`rgb(${[...data.slice(at, at + 3)].join(', ')})`);
            return ['measured', 'commanded'].map(
                id => found.has(getComputedStyle(document.getElementById(id)).color));
        }""") == [True, True]
        for state in ('HOLD', 'ESTOP', 'FAULT', 'SHADOW', 'WAITING', 'LOADING'):
            robot.status.update(state=state, reason=f'why it is {state}')
            expect_text(page, '#state', state)
            expect_text(page, '#reason', f'why it is {state}')
            save_screenshot(page, f'state_{state}')
        page.close()


def test_stale_status_and_images_are_marked_or_hidden(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        robot.show_image()
        expect_text(page, '#state', 'RUNNING')
        robot.silence = 4.0
        expect_text(page, '#state', 'NO STATUS')
        expect_text(page, '#reason', 'no status of the inference node for 4 s')
        api.expect(page.locator('.overlay')).to_be_hidden()
        expect_text(page, 'figcaption', 'no image for')
        robot.changes['status'] = None
        expect_text(page, '#reason', 'has come yet')
        save_screenshot(page, 'no_status')


def test_a_lost_connection_disables_all_but_the_stop(opened):
    with panel(ScriptedRobot()) as (_, port):
        page = opened(port)
        expect_text(page, '#state', 'RUNNING')
    expect_text(page, '#state', 'NOT CONNECTED')
    for button in page.locator('button:not(#stop)').all():
        assert button.is_disabled() or not button.is_visible()
    page.keyboard.press('Escape')
    expect_text(page, '#stop-note', 'could not be sent: use the hardware emergency stop')
    save_screenshot(page, 'not_connected')


def test_one_page_has_control_and_takeover_needs_a_second_press(opened):
    with panel(ScriptedRobot()) as (robot, port):
        first, second = opened(port), opened(port)
        expect_text(first, '#holder', 'Nobody is in control')
        assert first.locator('[data-call=rearm]').is_disabled()
        first.click('#take')
        expect_text(first, '#holder', 'You are in control')
        expect_text(second, '#holder', 'viewer 1 is in control')
        assert second.locator('[data-call=rearm]').is_disabled()
        first.fill('#instruction', 'pick up the blue block')
        first.click('#instruct button')
        robot.wait_for('instruct', 'pick up the blue block')
        second.click('#take')
        expect_text(second, '#take', 'Press again to take over')
        second.click('#take')
        expect_text(second, '#holder', 'You are in control')
        expect_text(first, '#holder', 'viewer 2 is in control')
        robot.status.update(state='HOLD', reason='operator: ~/hold was called')
        second.click('[data-call=rearm]')
        robot.wait_for('call', 'rearm')
        second.close()
        robot.wait_for('call', 'hold')
        expect_text(first, '#events', 'the arm is held')


def test_every_control_works_by_keyboard_alone(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        expect_text(page, '#state', 'RUNNING')
        seen = []

        def tab_to(selector):
            for _ in range(30):
                page.keyboard.press('Tab')
                seen.append(page.evaluate('document.activeElement.id'))
                if page.evaluate('s => document.activeElement.matches(s)', selector):
                    # Who does not see where the focus is cannot use the keyboard.
                    assert page.evaluate(
                        'getComputedStyle(document.activeElement).outlineStyle') == 'solid'
                    return
            pytest.fail(f'{selector} is not reached by Tab: {seen}')

        tab_to('#take')
        page.keyboard.press('Enter')
        expect_text(page, '#holder', 'You are in control')
        tab_to('#instruction')
        page.keyboard.type('push the green block')
        page.keyboard.press('Enter')
        robot.wait_for('instruct', 'push the green block')
        tab_to('[data-call=hold]')
        page.keyboard.press('Space')
        robot.wait_for('call', 'hold')
        save_screenshot(page, 'keyboard')
        # In the middle of typing, too.
        page.focus('#instruction')
        page.keyboard.press('Escape')
        robot.wait_for('stop')
        expect_text(page, '#state', 'ESTOP')
        expect_text(page, '#stop-note', 'Pressed.')
        tab_to('#release-stop')
        page.keyboard.press('Enter')
        robot.wait_for('release')
        count = robot.done.count(('stop',))
        tab_to('#stop')
        page.keyboard.press('Enter')
        robot.wait(lambda robot: robot.done.count(('stop',)) > count)


def test_the_stop_is_sent_on_press_not_on_release(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        expect_text(page, '#state', 'RUNNING')
        page.locator('#stop').hover()
        page.mouse.down()
        robot.wait_for('stop')
        page.mouse.up()
        expect_text(page, '#events', 'pressed the software stop')


def test_an_unconfirmed_stop_is_shown_as_unconfirmed(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        expect_text(page, '#stop-note', 'not a certified emergency stop')
        robot.listeners = 0
        expect_text(page, '#stop-note', 'No node receives this stop')
        page.click('#stop')
        expect_text(page, '#stop-note',
                    'not confirmed by the node: use the hardware emergency stop')
        save_screenshot(page, 'not_confirmed')


def test_buttons_of_missing_services_are_hidden(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        expect_text(page, '#state', 'RUNNING')
        for group in ('task', 'record'):
            api.expect(page.locator(f'[data-group={group}]')).to_be_hidden()
        robot.services = ('hold', 'record/start', 'cancel_task')
        page.click('#take')
        for name in ('cancel_task', 'record/start'):
            page.click(f'[data-call="{name}"]')
            robot.wait_for('call', name)
        assert page.locator('[data-call=rearm]').is_disabled()
        save_screenshot(page, 'services')


def test_the_control_mode_is_shown_and_a_takeover_is_ended_by_two_presses(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        for mode in ('AUTONOMOUS', 'TAKEOVER', 'PAUSED'):
            robot.status.update(control_mode=mode)
            expect_text(page, '#control-mode', mode)
        save_screenshot(page, 'paused')
        height = 'e => parseFloat(getComputedStyle(e).fontSize)'
        assert page.locator('#control-mode').evaluate(height) >= 22
        api.expect(page.locator('[data-group=takeover]')).to_be_hidden()
        robot.services = ('hold', 'resume')
        resume = page.locator('[data-call=resume]')
        api.expect(resume).to_be_disabled()
        page.click('#take')
        resume.click()
        expect_text(page, '[data-call=resume]', 'Press again')
        assert ('call', 'resume') not in robot.done
        resume.click()
        robot.wait_for('call', 'resume')


def test_going_live_takes_control_two_presses_and_a_rearm(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        robot.services = ('hold', 'rearm', 'shadow', 'live')
        api.expect(page.locator('[data-call=shadow]')).to_be_disabled()
        page.click('#take')
        page.click('[data-call=shadow]')
        robot.wait_for('call', 'shadow')
        robot.status.update(state='SHADOW', reason='commands go to the shadow topic')
        expect_text(page, '#state', 'SHADOW')
        save_screenshot(page, 'shadow')
        page.click('[data-call=rearm]')
        expect_text(page, '#reply', 'nothing to re-arm in the state SHADOW')
        assert ('call', 'rearm') not in robot.done
        live = page.locator('[data-call=live]')
        live.click()
        expect_text(page, '[data-call=live]', 'Press again to go live')
        # Who does not press again has not meant it.
        expect_text(page, '[data-call=live]', 'Go live')
        assert ('call', 'live') not in robot.done
        live.click()
        live.click()
        robot.wait_for('call', 'live')


def test_a_task_is_started_with_its_timeout_and_success(opened):
    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port)
        robot.services = ('hold', 'start_task', 'cancel_task')
        start = page.locator('[data-service=start_task]')
        api.expect(start).to_be_disabled()
        page.click('#take')
        page.fill('#instruction', 'push the red block')
        page.fill('#timeout', '12.5')
        start.click()
        robot.wait_for('start_task', TaskRequest('push the red block', 12.5, 'timeout'))
        page.select_option('#success', 'rest')
        page.fill('#rest-time', '2')
        start.click()
        robot.wait_for('start_task', TaskRequest('push the red block', 12.5, 'rest', '', 2))
        page.select_option('#success', 'topic')
        expect_text(page, '#success-name-field', 'std_msgs/Bool')
        start.click()  # the browser wants the topic's name
        page.fill('#success-name', '/judge')
        save_screenshot(page, 'task')
        robot.outcomes['start_task'] = Outcome(False, 'emergency stop: release it')
        start.click()
        robot.wait_for('start_task', TaskRequest('push the red block', 12.5, 'topic', '/judge'))
        expect_text(page, '#reply', 'emergency stop: release it')
        assert len([one for one in robot.done if one[0] == 'start_task']) == 3


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width, height', [(360, 740), (768, 1024), (1280, 900), (1920, 1080)])
def test_the_page_fits_every_screen(opened, scheme, width, height):
    with panel(ScriptedRobot()) as (robot, port):
        robot.services = ('hold', 'rearm', 'shadow', 'live', 'resume', 'start_task',
                          'cancel_task', 'record/start', 'record/stop')
        page = opened(port, width, height, scheme)
        robot.show_image((120, 100, 80))
        expect_text(page, '.tokens', '31650')
        page.click('#take')
        expect_text(page, '#holder', 'You are in control')
        page.wait_for_timeout(1500)
        robot.show_image((120, 100, 80))
        page.wait_for_timeout(200)
        save_screenshot(page, f'{width}_{scheme}')
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        # State and stop are in sight wherever the page is scrolled to.
        for _ in range(2):
            for selector in ('#state', '#control-mode', '#stop', '#stop-note'):
                box = page.locator(selector).bounding_box()
                assert box['y'] >= 0 and box['y'] + box['height'] <= height, selector
                assert box['x'] >= 0 and box['x'] + box['width'] <= width, selector
            page.evaluate('window.scrollTo(0, document.body.scrollHeight)')
        save_screenshot(page, f'{width}_{scheme}_end')
        # A finger finds every button, and nothing covers it.
        for button in page.locator('button:visible').all():
            button.scroll_into_view_if_needed()
            box = button.bounding_box()
            assert box['height'] >= 44, button
            assert button.evaluate("""one => {
                const box = one.getBoundingClientRect();
                const top = document.elementFromPoint(box.x + box.width / 2,
                                                      box.y + box.height / 2);
                return one === top || one.contains(top);
            }"""), button.inner_text()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_has_enough_contrast(opened, scheme):
    def check(page, *selectors):
        for selector in selectors:
            ratio = page.locator(selector).first.evaluate(CONTRAST)
            # WCAG 2.2, level AA.
            assert ratio >= 4.5, (selector, ratio)

    with panel(ScriptedRobot()) as (robot, port):
        page = opened(port, scheme=scheme)
        page.emulate_media(reduced_motion='reduce', color_scheme=scheme)
        page.click('#take')
        expect_text(page, '#events', 'took control')
        check(page, '#stop', '#stop-note', '#holder', '#numbers dt', '#numbers dd', 'label',
              '[data-call=hold]', '.plot .value', '#events li', '#events time', '#measured',
              '#commanded', '.note')
        for state in ('RUNNING', 'HOLD', 'FAULT', 'SHADOW', 'WAITING', 'ESTOP'):
            robot.status.update(state=state, reason='why')
            expect_text(page, '#state', state)
            check(page, '#state', '#reason', '#control-mode')
        robot.listeners = 0
        page.keyboard.press('Escape')
        robot.status.update(state='RUNNING')
        expect_text(page, '#stop-note', 'not confirmed')
        check(page, '#stop-note')


@expect_problems('401')
def test_the_token_is_asked_for_once(opened):
    with panel(ScriptedRobot(), token='a token of 24 characters') as (_, port):
        page = opened(port)
        save_screenshot(page, 'login')
        page.fill('#token', 'not the one')
        page.keyboard.press('Enter')
        expect_text(page, 'label', 'Token')
        page.fill('#token', 'a token of 24 characters')
        page.keyboard.press('Enter')
        expect_text(page, '#state', 'RUNNING')
        page.reload()
        expect_text(page, '#state', 'RUNNING')
        page.keyboard.press('Escape')
        expect_text(page, '#state', 'ESTOP')


def test_a_hung_page_loses_control_and_a_background_page_keeps_it(opened):
    with panel(ScriptedRobot(), lost_after=1.0) as (robot, port):
        page = opened(port)
        other = Client(port)
        page.click('#take')
        expect_text(page, '#holder', 'You are in control')
        behind = page.context.new_page()
        behind.bring_to_front()
        other.wait(lambda message: message.get('control') == 'viewer 1')
        for _ in range(30):  # three seconds of states
            assert other.wait(lambda message: 'control' in message)['control'] == 'viewer 1'
        assert ('call', 'hold') not in robot.done
        page.evaluate('() => setTimeout(() => { const end = Date.now() + 3000;'
                      'while (Date.now() < end); }, 0)')
        other.wait(lambda message: message.get('control') == '')
        robot.wait_for('call', 'hold')
        other.close()
