// The setup page in Chromium: a wrong code, a broken file, a good one, in light and dark, narrow and wide.
// Environment variables: HOLDFAST_SETUP_URL, HOLDFAST_SETUP_CODE, and as in record.mjs HOLDFAST_SCREENSHOTS.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import { check, needed, newPage, scenario, screenshot } from './lib.mjs';

const base = needed('HOLDFAST_SETUP_URL');
const code = needed('HOLDFAST_SETUP_CODE');
const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const GOOD = '[vault]\npath = "/srv/holdfast/data0"\n';

async function sound({ page, faults }, where) {
  check(!faults.length, `${where}: ${faults.join(' · ')}`);
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(over <= 0, `${where}: ${over} px wider than the window`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }));
  check(!violations.length, `${where}: ${violations.map((v) => `${v.id} (${v.nodes.map((n) => n.target.join(' ')).join('; ')})`).join(', ')}`);
}

const views = [['light', 390], ['dark', 390], ['dark', 1280], ['light', 1280]];

await scenario('a technician sets a box up', async (browser) => {
  for (const [index, [colorScheme, width]] of views.entries()) {
    const last = index === views.length - 1;
    const opened = await newPage(browser, { colorScheme, viewport: { width, height: 900 }, permissions: [] });
    const { page, faults } = opened;
    const as = (step) => `setup-${step}-${colorScheme}-${width}`;
    await page.goto(base);
    await page.getByLabel('Code').waitFor();
    await sound(opened, as('code'));
    await screenshot(page, as('code'));
    if (index === 0) {
      await page.getByLabel('Code').fill('wrong');
      await page.getByRole('button', { name: 'Open' }).click();
      await page.getByText('not the code of this box').waitFor();
      await sound({ page, faults: faults.splice(0).filter((fault) => !fault.includes('403')) }, as('wrong'));
    }
    await page.getByLabel('Code').fill(code.toLowerCase().replaceAll('-', ' '));
    await page.keyboard.press('Enter');
    const text = page.getByLabel('holdfast.toml');
    await page.locator('input[type=file]').setInputFiles([
      { name: 'holdfast.toml', mimeType: 'text/plain', buffer: Buffer.from(`\ufeff${GOOD}fre_bytes_min = 1\n`) },
      { name: 'front-hook', mimeType: 'text/plain', buffer: Buffer.from('s3cret') },
    ]);
    await page.getByText('secrets/front-hook · 6 bytes').waitFor();
    await page.getByRole('button', { name: 'Check only' }).click();
    await page.getByRole('alert').getByText('line 3, column 1').waitFor();
    await sound(opened, as('broken'));
    await screenshot(page, as('broken'));
    await text.fill(GOOD);
    await page.getByRole('button', { name: 'Check only' }).click();
    await page.getByText('This can be used').waitFor();
    if (last) {
      await page.getByRole('button', { name: 'Hand in' }).click();
      await page.getByText('The box takes it now').waitFor();
      await screenshot(page, as('end'));
    }
    await sound(opened, as('good'));
    await page.context().close();
  }
});
